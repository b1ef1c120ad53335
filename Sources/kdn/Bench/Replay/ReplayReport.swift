internal import KDNCore

/// Writes what a replay found as it comes: JSON lines, or a table for people.
struct ReplayReport {
  /// Whether JSON lines are written.
  let isJSON: Bool

  private static let columns = [
    ("capacity", 14), ("policy", 12), ("hit ratio", 10), ("written/stored", 15),
    ("written/asked", 14),
  ]

  /// Creates a report.
  init(isJSON: Bool) { self.isJSON = isJSON }

  /// Writes what is replayed.
  func begin(_ run: ReplayRun) throws {
    if isJSON { return try Output.line(run) }
    Output.line(
      "\(run.requests) requests for \(run.blocksAsked) blocks, \(run.blocks) of them different, "
        + "of \(ByteCount(run.blockBytes)); segments of \(ByteCount(run.segmentBytes)); "
        + "hit ratio without limit \(Output.decimal(run.hitRatioUnlimited, digits: 4))")
    Output.line(Self.row(Self.columns.map(\.0)))
  }

  /// Writes what one policy made of it at one capacity.
  func score(_ score: ReplayScore) throws {
    if isJSON { return try Output.line(score) }
    let gibibytes = Double(score.capacityBytes) / Double(1 << 30)
    Output.line(
      Self.row([
        "\(Output.decimal(gibibytes, digits: 3))GiB", score.policy,
        Output.decimal(score.hitRatio, digits: 4),
        Output.decimal(score.writeAmplification, digits: 3),
        Output.decimal(score.writtenPerAsked, digits: 3),
      ]))
  }

  private static func row(_ cells: [String]) -> String {
    zip(cells, columns).map { cell, column in
      String(repeating: " ", count: max(0, column.1 - cell.count)) + cell
    }.joined(separator: " ")
  }
}

/// What is replayed.
struct ReplayRun: Encodable {
  var kind = "run"
  let version: String
  let requests: Int
  let blocksAsked: Int
  let blocks: Int
  let blockBytes: Int
  let segmentBytes: Int
  let hitRatioUnlimited: Double

  init(_ trace: ReplayTrace, blockBytes: Int, segmentBytes: Int) {
    version = KDNCommand.version
    requests = trace.requests.count
    blocksAsked = trace.blocksAsked
    blocks = trace.blockCount
    self.blockBytes = blockBytes
    self.segmentBytes = segmentBytes
    let unlimited = LRUReplay(capacity: trace.blockCount, blockCount: trace.blockCount)
    hitRatioUnlimited =
      ReplayScore(trace, into: unlimited, capacityBytes: trace.blockCount * blockBytes).hitRatio
  }
}
