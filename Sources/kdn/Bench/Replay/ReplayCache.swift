/// A cache of blocks of equal size, simulated: what it would hold, not the bytes.
protocol ReplayCache {
  /// What the table calls it.
  var name: String { get }
  /// Blocks that were stored, each time that one was.
  var stored: Int { get }
  /// Blocks that were written: those stored and those written anew to be kept.
  var written: Int { get }
  /// Whether a block is there; not a use.
  func holds(_ block: Int) -> Bool
  /// Uses a block, or stores it if it is not there.
  mutating func use(_ block: Int)
}

/// What a cache did for a trace.
struct ReplayScore: Encodable {
  var kind = "replay"
  let capacityBytes: Int
  let policy: String
  let blocksAsked: Int
  let blocksHit: Int
  let blocksStored: Int
  let blocksWritten: Int
  /// Blocks found at the front of requests, of all that were asked for.
  let hitRatio: Double

  /// Blocks written for each that was stored.
  var writeAmplification: Double { Double(blocksWritten) / Double(max(1, blocksStored)) }
  /// Blocks written for each that was asked for.
  var writtenPerAsked: Double { Double(blocksWritten) / Double(max(1, blocksAsked)) }

  /// Replays `trace` into `cache`, which is empty and holds `capacityBytes`.
  ///
  /// Only what is there without a gap from the front of a request is a hit; then each of its blocks
  /// is used or stored, front first.
  init(_ trace: ReplayTrace, into cache: any ReplayCache, capacityBytes: Int) {
    var cache = cache
    var hits = 0
    for request in trace.requests {
      hits += request.prefix { cache.holds($0) }.count
      for block in request { cache.use(block) }
    }
    self.capacityBytes = capacityBytes
    policy = cache.name
    blocksAsked = trace.blocksAsked
    blocksHit = hits
    blocksStored = cache.stored
    blocksWritten = cache.written
    hitRatio = Double(hits) / Double(max(1, trace.blocksAsked))
  }
}
