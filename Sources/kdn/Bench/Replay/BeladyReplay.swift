/// Knows the future: keeps what is used again soonest, and does not store what is used again later
/// than all it holds.
///
/// The optimum of hits for single blocks of one size (Belády 1966; Mattson et al. 1970, with
/// bypass). For prefixes it is an approximation: a block behind a gap counts for it, but is no hit.
struct BeladyReplay: ReplayCache {
  let name = "Belady"
  private(set) var stored = 0

  private let capacity: Int
  private var count = 0
  /// For each use in the order of the trace, the number of that block's next use.
  private let nextUses: [Int]
  private var now = 0
  /// The next use of each block that is there; nil for the others.
  private var next: [Int?]
  private var latest = UseHeap()

  private static let never = Int.max

  /// Creates an empty cache for `capacity` blocks of `trace`, which must be replayed as it is.
  init(capacity: Int, trace: ReplayTrace) {
    precondition(capacity > 0, "a cache holds something")
    self.capacity = capacity
    let uses = trace.requests.joined()
    var nextUses = Array(repeating: Self.never, count: trace.blocksAsked)
    var last: [Int?] = Array(repeating: nil, count: trace.blockCount)
    for (place, block) in uses.enumerated() {
      if let earlier = last[block] { nextUses[earlier] = place }
      last[block] = place
    }
    self.nextUses = nextUses
    next = Array(repeating: nil, count: trace.blockCount)
  }

  var written: Int { stored }

  func holds(_ block: Int) -> Bool { next[block] != nil }

  mutating func use(_ block: Int) {
    let use = nextUses[now]
    now += 1
    if next[block] == nil {
      guard makeRoom(forUseAt: use) else { return }
      count += 1
      stored += 1
    }
    next[block] = use
    latest.push(UseHeap.Entry(use: use, block: block))
  }

  /// Whether there is room for a block that is used next at `use`; drops one for it.
  private mutating func makeRoom(forUseAt use: Int) -> Bool {
    guard count == capacity else { return true }
    // Entries of uses that have passed, or of blocks that are gone, are of no account.
    while let entry = latest.first, next[entry.block] != entry.use { latest.pop() }
    guard let entry = latest.first, entry.use > use else { return false }
    latest.pop()
    next[entry.block] = nil
    count -= 1
    return true
  }
}
