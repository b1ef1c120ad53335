internal import ArgumentParser
internal import KDNCore
internal import KDNTier

/// `kdn bench replay`: what policies of reclaiming and eviction would make of a trace.
struct ReplayCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Replays a trace of requests against the disk tier's policy and others.",
    discussion: """
      TRACE holds JSON lines; hash_ids names the blocks of a request's prompt, each behind those \
      it builds on, as in the traces of Mooncake (FAST'25). No daemon is asked. --json writes JSON.
      Of each request the blocks at its front that are there without a gap are hits; then all its \
      blocks are used or stored. reinsertion is the policy of kdnd's disk tier, FIFO the same log \
      without it; both count headers, footers and free segments, the others bytes of blocks alone. \
      Belady knows the future: the optimum of single blocks, an approximation for prefixes.
      """)

  @Argument(help: "The trace; - is standard input.")
  var trace: String
  @Option(help: "Bytes of the cache, may be given again; else 1/16 to 1/2 of all blocks.")
  var capacity: [String] = []
  @Option(help: "Bytes of a block.")
  var blockBytes = "16MiB"
  @Option(help: "Bytes of a segment.")
  var segment = "256MiB"
  @Option(help: "Uses since it was written from which the disk tier writes a block anew.")
  var hotUses: UInt32 = 1
  @Option(help: "Segments that the disk tier's allowance for writing anew may save up.")
  var savedSegments = 4
  // `kdn bench` takes these too, and hands them on only as the same group. No daemon is asked.
  @OptionGroup(visibility: .hidden) var common: CommonOptions

  private static let bytesMax = 1 << 34
  private static let capacityBytesMax = 1 << 60
  private static let savedSegmentsMax = 1024
  private static let fractions = [16, 8, 4, 2]

  func validate() throws {
    _ = try Self.size(blockBytes, "--block-bytes")
    _ = try Self.size(segment, "--segment")
    for text in capacity { _ = try Self.size(text, "--capacity", max: Self.capacityBytesMax) }
    guard (0...Self.savedSegmentsMax).contains(savedSegments) else {
      throw ValidationError("--saved-segments must be 0 to \(Self.savedSegmentsMax)")
    }
  }

  func answer() throws -> Bool {
    let trace = try ReplayTrace(
      parsing: FileBytes.read(trace, limit: ReplayTrace.bytesMax))
    let blockBytes = try Self.size(blockBytes, "--block-bytes")
    let capacities = try capacities(allBytes: trace.blockCount * blockBytes)
    let shapes = try capacities.map { try shape($0, blockBytes: blockBytes) }
    let report = ReplayReport(isJSON: common.json)
    try report.begin(
      ReplayRun(trace, blockBytes: blockBytes, segmentBytes: Self.size(segment, "--segment")))
    for (capacity, shape) in zip(capacities, shapes) {
      for cache in caches(trace, shape, blocks: capacity / blockBytes) {
        try report.score(ReplayScore(trace, into: cache, capacityBytes: capacity))
      }
    }
    return true
  }

  private func caches(
    _ trace: ReplayTrace, _ shape: SegmentShape, blocks: Int
  ) -> [any ReplayCache] {
    [
      SegmentReplay(
        "reinsertion", ReinsertionPolicy(hotUses: hotUses), shape, savedSegments: savedSegments,
        trace: trace),
      SegmentReplay("FIFO", FIFOPolicy(), shape, savedSegments: savedSegments, trace: trace),
      LRUReplay(capacity: blocks, blockCount: trace.blockCount),
      S3FIFOReplay(capacity: blocks, blockCount: trace.blockCount),
      BeladyReplay(capacity: blocks, trace: trace),
    ]
  }

  private func capacities(allBytes: Int) throws -> [Int] {
    guard capacity.isEmpty else {
      return try capacity.map { try Self.size($0, "--capacity", max: Self.capacityBytesMax) }
    }
    return Self.fractions.map { allBytes / $0 }
  }

  private func shape(_ capacityBytes: Int, blockBytes: Int) throws -> SegmentShape {
    let segmentBytes = try Self.size(segment, "--segment")
    guard
      let shape = SegmentShape(
        capacityBytes: capacityBytes, segmentBytes: segmentBytes, blockBytes: blockBytes)
    else {
      throw ValidationError(
        "\(ByteCount(capacityBytes)) is not \(SegmentShape.segmentCountMin) segments of "
          + "\(ByteCount(segmentBytes)), or no block fits into one")
    }
    return shape
  }

  private static func size(
    _ text: String, _ option: String, max: Int = bytesMax
  ) throws(ValidationError) -> Int {
    guard let size = try? ByteCount(parsing: text, field: option),
      (1...max).contains(size.bytes)
    else { throw ValidationError("\(option) must be a size from 1 to \(ByteCount(max))") }
    return size.bytes
  }
}
