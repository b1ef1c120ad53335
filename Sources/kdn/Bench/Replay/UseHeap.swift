/// A binary heap of coming uses, latest first.
struct UseHeap {
  /// A block and the number of a use of it.
  struct Entry {
    let use: Int
    let block: Int
  }

  private var entries: [Entry] = []

  /// The latest use; nil if there is none.
  var first: Entry? { entries.first }

  /// Puts a use in.
  mutating func push(_ entry: Entry) {
    entries.append(entry)
    var place = entries.count - 1
    while place > 0, entries[place].use > entries[(place - 1) / 2].use {
      entries.swapAt(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
  }

  /// Takes the latest use out, if there is one.
  mutating func pop() {
    guard let last = entries.popLast(), !entries.isEmpty else { return }
    entries[0] = last
    var place = 0
    while true {
      var top = place
      for below in [2 * place + 1, 2 * place + 2]
      where below < entries.count && entries[below].use > entries[top].use {
        top = below
      }
      guard top != place else { return }
      entries.swapAt(place, top)
      place = top
    }
  }
}
