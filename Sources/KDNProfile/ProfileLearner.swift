package import KDNCodec
package import KDNCore

/// Learns a profile from KV, chunk after chunk, in bounded memory.
///
/// The first chunks are held back until there are enough to tell what is usual in each channel
/// (medians, which broken chunks do not move); from then on each chunk is added to weighted sums
/// and forgotten. Attention sinks and chunks with values that are not finite are left out; tokens
/// far outside of what is usual count little (see `TokenWeights`).
package struct ProfileLearner {
  /// Chunks and tokens that are enough to tell what is usual.
  private static let heldChunkCount = 9
  private static let heldTokenCount = 1024

  let layout: Layout
  let part: Part
  let kind: Profile.Kind
  let calibration: Calibration?
  let options: LearningOptions
  let algebra: LinearAlgebra?
  let planes: [PlanePlace]
  /// Bytes of one token of the part.
  package let bytesPerToken: Int
  let runs: [PlaneRun]
  let plan: MemoryPlan
  var reader: RowReader
  var rows: [Float] = []
  var held: [KVChunk] = []
  var heldBytes = 0
  /// Of each run; empty while chunks are held back.
  var moments: [RunMoments] = []
  /// What became of the chunks so far.
  package var report = LearningReport()

  /// Starts to learn a profile of `kind` for `part` of `layout`.
  ///
  /// - Throws: `LearningFault.field` if the part does not fit the layout or the calibration is of
  ///   another, `noAttention` if there is nothing to learn a basis of, `noLinearAlgebra` if
  ///   there is no library for it, `memory` if `options` allow too little.
  package init(
    _ kind: Profile.Kind, layout: Layout, part: Part, calibration: Calibration? = nil,
    options: LearningOptions? = nil, threadCount: Int = 1
  ) throws(LearningFault) {
    let options = options ?? LearningOptions(for: kind)
    do throws(FieldFault) {
      (planes, bytesPerToken) = try PlanePlace.all(of: part, layout)
      try calibration?.check(fits: layout)
      for plane in planes {
        let heads = plane.plane == .layer ? 0..<1 : part.kvHeads
        _ = try calibration?.importance(of: plane, heads: heads)
      }
    } catch {
      throw .field(error)
    }
    self.layout = layout
    self.part = part
    self.kind = kind
    self.calibration = calibration
    self.options = options
    runs = PlaneRun.all(of: planes, for: kind)
    plan = try MemoryPlan(runs, options)
    reader = RowReader(layout.elementType, planes)
    let wantsBasis = runs.contains { $0.wantsBasis }
    guard kind == .weights || wantsBasis else { throw .noAttention }
    algebra = wantsBasis ? try LinearAlgebra(threadCount: threadCount) : nil
    report.isCalibrated = calibration != nil
    report.isSketched = wantsBasis && plan.kept != nil
    report.memoryBytes = plan.bytes
  }

  /// Learns from a chunk.
  ///
  /// - Throws: `LearningFault.field` that names `tokenCount` or `byteCount` if the chunk is not of
  ///   the part, `notSolved` if a sketch cannot be made smaller.
  package mutating func feed(_ chunk: KVChunk) throws(LearningFault) {
    guard (1...KVChunk.tokenCountMax).contains(chunk.tokenCount), chunk.firstToken < 1 << 40 else {
      throw .field(
        FieldFault(
          "tokenCount", value: chunk.tokenCount, limit: KVChunk.tokenCountMax,
          "a chunk has 1 to so many tokens, the first below 2^40"))
    }
    guard chunk.bytes.count == bytesPerToken * chunk.tokenCount else {
      throw .field(
        FieldFault(
          "byteCount", value: chunk.bytes.count, limit: bytesPerToken * chunk.tokenCount,
          "not the bytes of so many tokens of the part"))
    }
    report.chunkCount += 1
    guard isFinite(chunk) else {
      report.nonFiniteChunkCount += 1
      return
    }
    let tokens = tokens(of: chunk)
    guard !tokens.isEmpty else { return }
    report.tokenCount += tokens.count
    guard moments.isEmpty else { return try learn(from: chunk) }
    held.append(chunk)
    heldBytes += chunk.bytes.count
    let isEnough = held.count >= Self.heldChunkCount && report.tokenCount >= Self.heldTokenCount
    if isEnough || heldBytes >= plan.heldBytesMax { try release() }
  }

  /// Ends learning: the bytes of the profile, and what became of the chunks.
  ///
  /// - Throws: `LearningFault.nothingLearned` if no token is left, or if of a run of layers less
  ///   than half of the tokens are alike; `notSolved` if LAPACK finds no eigenvectors; `field` if
  ///   the profile would be beyond a limit of its format.
  package consuming func finish() throws(LearningFault) -> (bytes: [UInt8], LearningReport) {
    if moments.isEmpty, !held.isEmpty { try release() }
    let isLearned = moments.allSatisfy { 2 * $0.tokenCount >= report.tokenCount }
    guard !moments.isEmpty, isLearned else {
      throw .nothingLearned(
        LearningFault.NothingLearned(
          chunkCount: report.chunkCount, nonFiniteChunkCount: report.nonFiniteChunkCount,
          brokenPieceCount: report.brokenPieceCount))
    }
    summarise()
    return (try written(), report)
  }
}
