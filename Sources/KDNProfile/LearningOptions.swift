package import KDNCodec

/// How a profile is learned.
package struct LearningOptions: Sendable {
  /// Layers of a run of a grouped basis, at most.
  package static let layersPerRun = 6
  /// Leading tokens of a text that serve as attention sinks: unlike all others, and few.
  package static let sinkTokenCount: UInt64 = 4

  /// Most rows of a basis; fewer where the rest would never be coded, or by memory.
  package var rankMax: Int
  /// Rows of a lesser spread are not kept: encoders code no row whose spread is less than a quarter
  /// of the step, and no step is below 0.4.
  package var spreadMin: Float = 0.1
  /// Most memory for what is learned and the work space, the profile included.
  package var memoryBytesMax = 4 << 30

  /// The options that are right for `kind`.
  package init(for kind: Profile.Kind) {
    rankMax =
      switch kind {
      case .weights: 0
      case .groupedBasis: 3072
      case .wholeBasis: 2816
      }
  }
}

/// KV to learn from: one object of a layout as it is stored.
package struct KVChunk: Sendable {
  /// The payload in canonical order, for the part that is learned.
  package let bytes: [UInt8]
  /// Position of the first token.
  package let firstToken: UInt64
  /// How many tokens; at most `tokenCountMax`.
  package let tokenCount: Int

  /// More than a stored object has: a dump may be of a whole text.
  package static let tokenCountMax = 65_536

  /// Wraps a payload.
  package init(bytes: [UInt8], firstToken: UInt64, tokenCount: Int) {
    self.bytes = bytes
    self.firstToken = firstToken
    self.tokenCount = tokenCount
  }
}

/// What became of the KV that was fed.
package struct LearningReport: Sendable, Equatable {
  /// Chunks fed.
  package var chunkCount = 0
  /// Tokens learned from: those of good chunks that are no attention sinks.
  package var tokenCount = 0
  /// Chunks left out for a value that is not finite.
  package var nonFiniteChunkCount = 0
  /// Pieces of chunks left out of a run of layers, as most of their tokens lie far outside of the
  /// rest; counted in each run.
  package var brokenPieceCount = 0
  /// Share of tokens of good chunks that count less, as they lie far outside, over all runs.
  package var outlierShare = 0.0
  /// Whether weights came from a calibration of the engine.
  package var isCalibrated = false
  /// Whether bases come from a sketch, since covariances would not fit into the memory.
  package var isSketched = false
  /// Bytes of memory that learning takes at most, by count.
  package var memoryBytes = 0
  /// Fewest tokens per channel of a run; below 2 a basis fits its texts better than others.
  package var tokensPerChannel = 0.0
}
