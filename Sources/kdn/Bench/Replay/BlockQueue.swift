/// Blocks, first in, first out.
struct BlockQueue {
  private var blocks: [Int] = []
  private var first = 0

  /// How many there are.
  var count: Int { blocks.count - first }

  /// Whether there are none.
  var isEmpty: Bool { count == 0 }

  /// Puts a block behind the others.
  mutating func append(_ block: Int) { blocks.append(block) }

  /// Takes the block that came first; nil if there is none.
  mutating func popFirst() -> Int? {
    guard first < blocks.count else { return nil }
    defer { first += 1 }
    let block = blocks[first]
    if first > blocks.count / 2 {
      blocks.removeFirst(first)
      first = 0
    }
    return block
  }
}
