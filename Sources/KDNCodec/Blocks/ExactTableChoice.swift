internal import CKernels
internal import KDNCore

/// The tables of an exact block, and which of them each channel takes.
struct ExactTableChoice {
  /// At most four.
  let tables: [ExactTable]
  /// 0 for a channel whose symbols are all zero, else the number of its table, from 1 on.
  let classes: [UInt8]

  /// How many symbols a byte of a table must serve before one table more is worth its bytes.
  private static let symbolsPerTableByte = 16
  /// Bytes that a table takes as a rule.
  private static let tableBytes = 64

  /// Tokens from which on every other one is counted: frequencies come out the same.
  private static let sampledTokensMin = 128

  /// Chooses for dense rows `q`, `[token][channel]` padded to whole lanes.
  ///
  /// - Throws: a fault that names `tables`.
  init(
    _ q: UnsafeMutableBufferPointer<Int16>, channels: Int, tokens: Int, _ room: WorkingRoom
  ) throws(FieldFault) {
    let counts = unsafe room.take(.counts, UInt32.self, count: 256 * channels)
    unsafe try Self.count(q, channels: channels, tokens: tokens, into: counts)
    let worth = channels * tokens / (Self.tableBytes * Self.symbolsPerTableByte)
    let most = max(1, min(ExactTable.countMax, worth))
    var classes = [UInt8](repeating: 0, count: channels)
    var frequencies = [UInt16](repeating: 0, count: 256 * ExactTable.countMax)
    var tableCount: UInt32 = 0
    let scratch = unsafe room.take(.scratch, UInt32.self, count: 2 * channels)
    try Kernel.check(
      unsafe kdn_exact_tables(
        counts.baseAddress, UInt64(channels), UInt32(most), &classes, &frequencies, &tableCount,
        scratch.baseAddress), "tables")
    self.classes = classes
    tables = (0..<Int(tableCount)).map {
      ExactTable(withEscape: Array(frequencies[256 * $0..<256 * ($0 + 1)]))
    }
  }

  /// Counts each channel's symbols, 256 numbers per channel, that of the escape first.
  private static func count(
    _ q: UnsafeMutableBufferPointer<Int16>, channels: Int, tokens: Int,
    into counts: UnsafeMutableBufferPointer<UInt32>
  ) throws(FieldFault) {
    let stride = q.count / tokens
    let step = tokens < sampledTokensMin ? 1 : 2
    let counted = tokens / step
    try Kernel.check(
      unsafe kdn_histograms(
        UInt64(channels), UInt64(counted), UInt64(step * stride), q.baseAddress,
        UInt64(q.count), counts.baseAddress), "tables")
    guard step > 1 else { return }
    // A channel that has but zeros among the counted needs a table if it has others elsewhere.
    for channel in 0..<channels where unsafe counts[256 * channel + 128] == UInt32(counted) {
      let isZero = (0..<tokens).allSatisfy { unsafe q[$0 * stride + channel] == 0 }
      if !isZero { unsafe counts[256 * channel] += 1 }
    }
  }
}
