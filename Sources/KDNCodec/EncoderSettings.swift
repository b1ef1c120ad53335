/// How finely and how hard encoders work.
package struct EncoderSettings: Hashable, Sendable {
  /// Steps of the quantisers, as measured: see `Codecs`.
  package struct StepSizes: Hashable, Sendable {
    /// Of `high`, and of blocks without weights: in spreads of the plane.
    package var high: Float = 0.25
    /// Of `balanced`, and of weighted blocks: in the units of the profile's weights.
    package var balanced: Float = 0.78
    /// Of `small`: in the units of the profile's scales.
    package var small: Float = 0.9
    /// Of `archive`: in the units of the profile's scales.
    package var archive: Float = 1.2

    /// The measured ones.
    package init() {}
  }

  /// Steps per class.
  package var steps = StepSizes()
  /// What is added before values are cut to whole steps: half a step rounds to the nearest, less
  /// makes zero wider.
  package var rounding: Float = 0.5
  /// Leading tokens kept as they are where a text begins, in `high` and `balanced`.
  package var rawTokens = 4
  /// The same in `small` and `archive`.
  package var rawTokensOfTransform = 1
  /// A transform's coefficients end behind the last of which the profile expects this spread, in
  /// steps.
  package var coefficientSpreadMin: Float = 0.5
  /// The same in `archive`, whose steps are wider.
  package var coefficientSpreadMinOfArchive: Float = 0.3
  /// They end later where the energy behind is more than this multiple of what the profile expects
  /// behind that one.
  package var tailFactorMax: Float = 1.25
  /// A transform gives way where the energy outside its basis is more than this multiple of what
  /// the profile expects there, and `residualShareMore` of all.
  package var residualFactorMax: Float = 2.25
  /// What is added to `residualFactorMax` times the share that is expected.
  package var residualShareMore: Float = 0.0005
  /// Level of zstd, 1 to 3.
  package var zstdLevel = 1
  /// General compressors must save one in this many bytes.
  package var savedPartMin = 16

  /// The measured settings.
  package init() {}
}

/// How the blocks of an object were coded.
package struct BlockTally: Hashable, Sendable {
  /// Blocks and bytes of one kind.
  package struct Count: Hashable, Sendable {
    /// How many blocks.
    package var blocks = 0
    /// Bytes that they hold.
    package var rawBytes = 0
    /// Bytes that they take.
    package var encodedBytes = 0
  }

  /// What each kind of block has; kinds that do not occur are not there.
  package private(set) var counts: [BlockKind: Count] = [:]
  /// Whether a block is of another kind than the class is made of.
  package private(set) var fellBack = false

  /// Adds a block.
  mutating func add(_ kind: BlockKind, rawBytes: Int, encodedBytes: Int, fellBack: Bool) {
    counts[kind, default: Count()].blocks += 1
    counts[kind, default: Count()].rawBytes += rawBytes
    counts[kind, default: Count()].encodedBytes += encodedBytes
    if fellBack { self.fellBack = true }
  }
}

/// An encoded object, and how its blocks were coded.
package struct EncodedObject: Sendable {
  /// The whole object, header first.
  package let bytes: [UInt8]
  /// Bytes of the header.
  package let headerByteCount: Int
  /// How its blocks were coded.
  package let tally: BlockTally
  /// Checksum of what decoding gives.
  package let decodedChecksum: UInt64
}
