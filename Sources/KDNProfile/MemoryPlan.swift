internal import KDNCodec

/// What learning holds in memory, worked out before the first byte is taken.
struct MemoryPlan: Sendable {
  /// Tokens that are looked at together, at most.
  static let pieceTokens = 512
  /// Fewest directions for which a sketch is worth its name.
  static let keptMin = 16

  /// Bytes of raw chunks that may be held back until what is usual is known.
  let heldBytesMax: Int
  /// Directions that sketches keep; nil if all products fit.
  let kept: Int?
  /// All of it at its largest, counted.
  let bytes: Int

  /// Plans for `runs` within `options.memoryBytesMax`.
  ///
  /// - Throws: `LearningFault.memory` if even small sketches do not fit.
  init(_ runs: [PlaneRun], _ options: LearningOptions) throws(LearningFault) {
    let limit = options.memoryBytesMax
    heldBytesMax = limit / 4
    let widthMax = runs.map(\.channelCount).max() ?? 0
    let rows = Self.pieceTokens * widthMax * 4
    let sums = runs.reduce(0) { $0 + $1.channelCount * 40 }
    let fixed = heldBytesMax + rows + sums
    let widths = runs.filter(\.wantsBasis).map(\.channelCount)
    let full = widths.reduce(0) { $0 + Scatter.bytes(width: $1).held }
    let solving = widths.map { Scatter.bytes(width: $0).solving }.max() ?? 0
    let all = fixed + full + solving + Self.basisBytes(widths, options.rankMax)
    if all <= limit, (widths.max() ?? 0) <= LinearAlgebra.orderMax {
      kept = nil
      bytes = all
      return
    }
    let keptMax = min(
      options.rankMax + options.rankMax / 4, widthMax, LinearAlgebra.orderMax / 2)
    func sketched(_ kept: Int) -> Int {
      let held = widths.reduce(0) { $0 + ScatterSketch.rowBytes(kept: kept, width: $1) }
      return fixed + held + ScatterSketch.workBytes(kept: kept)
        + Self.basisBytes(widths, min(kept, options.rankMax))
    }
    var kept = keptMax
    while kept > Self.keptMin, sketched(kept) > limit { kept -= max(1, kept / 16) }
    guard sketched(kept) <= limit else {
      throw .memory(needed: sketched(kept), limit: limit)
    }
    self.kept = kept
    bytes = sketched(kept)
  }

  /// The bases twice, as they are learned and as they are written, and one before it is rounded.
  private static func basisBytes(_ widths: [Int], _ rankMax: Int) -> Int {
    let entries = widths.map { min($0, rankMax) * $0 }
    return entries.reduce(0, +) * 4 + (entries.max() ?? 0) * 4
  }
}
