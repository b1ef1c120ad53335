/// Drops what was used longest ago.
struct LRUReplay: ReplayCache {
  let name = "LRU"
  private(set) var stored = 0

  private let capacity: Int
  private var count = 0
  /// Neighbours of each block in the order of use; the last place is both ends of the ring.
  private var older: [Int]
  private var newer: [Int]
  private var isHeld: [Bool]
  private let end: Int

  /// Creates an empty cache for `capacity` of the blocks 0 to `blockCount` - 1.
  init(capacity: Int, blockCount: Int) {
    precondition(capacity > 0, "a cache holds something")
    self.capacity = capacity
    end = blockCount
    older = Array(repeating: blockCount, count: blockCount + 1)
    newer = older
    isHeld = Array(repeating: false, count: blockCount)
  }

  var written: Int { stored }

  func holds(_ block: Int) -> Bool { isHeld[block] }

  mutating func use(_ block: Int) {
    if isHeld[block] {
      takeOut(block)
    } else {
      makeRoom()
      isHeld[block] = true
      count += 1
      stored += 1
    }
    let last = older[end]
    (older[block], newer[block]) = (last, end)
    newer[last] = block
    older[end] = block
  }

  private mutating func makeRoom() {
    guard count == capacity else { return }
    let oldest = newer[end]
    takeOut(oldest)
    isHeld[oldest] = false
    count -= 1
  }

  private mutating func takeOut(_ block: Int) {
    newer[older[block]] = newer[block]
    older[newer[block]] = older[block]
  }
}
