/// Three queues: new blocks in a small one, proven ones in the main one, names of dropped ones in a
/// ghost.
///
/// Source: Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023), Algorithm 1:
/// small is a tenth, uses are counted to 3, more than 1 leads from small to main.
struct S3FIFOReplay: ReplayCache {
  let name = "S3-FIFO"
  private(set) var stored = 0

  private let capacity: Int
  private let smallMax: Int
  private var small = BlockQueue()
  private var main = BlockQueue()
  private var ghost = BlockQueue()
  /// Uses of each block that is there; nil for the others.
  private var uses: [UInt8?]
  /// How often each block is in `ghost`; only its newest place counts.
  private var ghosts: [Int]
  private var isGhost: [Bool]

  private static let usesMax: UInt8 = 3

  /// Creates an empty cache for `capacity` of the blocks 0 to `blockCount` - 1.
  init(capacity: Int, blockCount: Int) {
    precondition(capacity > 0, "a cache holds something")
    self.capacity = capacity
    smallMax = max(1, capacity / 10)
    uses = Array(repeating: nil, count: blockCount)
    ghosts = Array(repeating: 0, count: blockCount)
    isGhost = Array(repeating: false, count: blockCount)
  }

  var written: Int { stored }

  func holds(_ block: Int) -> Bool { uses[block] != nil }

  mutating func use(_ block: Int) {
    if let count = uses[block] {
      uses[block] = min(Self.usesMax, count + 1)
      return
    }
    while small.count + main.count >= capacity { drop() }
    stored += 1
    uses[block] = 0
    if isGhost[block] {
      isGhost[block] = false
      main.append(block)
    } else {
      small.append(block)
    }
  }

  private mutating func drop() {
    guard small.count >= smallMax || main.isEmpty else { return dropFromMain() }
    while let block = small.popFirst() {
      guard let count = uses[block], count > 1 else {
        uses[block] = nil
        return remember(block)
      }
      main.append(block)
      if main.count > capacity - smallMax { dropFromMain() }
    }
  }

  private mutating func dropFromMain() {
    while let block = main.popFirst() {
      guard let count = uses[block], count > 0 else {
        uses[block] = nil
        return
      }
      uses[block] = count - 1
      main.append(block)
    }
  }

  private mutating func remember(_ block: Int) {
    ghost.append(block)
    ghosts[block] += 1
    isGhost[block] = true
    guard ghost.count > capacity - smallMax, let oldest = ghost.popFirst() else { return }
    ghosts[oldest] -= 1
    if ghosts[oldest] == 0 { isGhost[oldest] = false }
  }
}
