/// A binary heap of numbered slots, least key first, from which any slot can be taken.
///
/// `set` and `remove` take time logarithmic in `count`; nothing stale is ever kept.
struct IndexedHeap<Key: Comparable & Sendable>: Sendable {
  private struct Entry {
    var key: Key
    var slot: Int32
  }

  private var entries: [Entry] = []
  /// Place of each slot in `entries`; -1 when it has none.
  private var places: [Int32] = []

  /// How many slots are in the heap.
  var count: Int { entries.count }

  /// The slot with the least key.
  var first: (key: Key, slot: Int32)? {
    entries.first.map { ($0.key, $0.slot) }
  }

  /// Whether `slot` is in the heap.
  func contains(_ slot: Int32) -> Bool { key(of: slot) != nil }

  /// The key of `slot`; nil if it is not in the heap.
  func key(of slot: Int32) -> Key? {
    guard Int(slot) < places.count, places[Int(slot)] >= 0 else { return nil }
    return entries[Int(places[Int(slot)])].key
  }

  /// Puts `slot` in with `key`, or moves it there.
  mutating func set(_ slot: Int32, _ key: Key) {
    while places.count <= Int(slot) { places.append(-1) }
    let place = Int(places[Int(slot)])
    guard place >= 0 else {
      entries.append(Entry(key: key, slot: slot))
      places[Int(slot)] = Int32(entries.count - 1)
      rise(from: entries.count - 1)
      return
    }
    entries[place].key = key
    sink(from: rise(from: place))
  }

  /// Takes `slot` out, if it is in.
  mutating func remove(_ slot: Int32) {
    guard Int(slot) < places.count, places[Int(slot)] >= 0 else { return }
    let place = Int(places[Int(slot)])
    places[Int(slot)] = -1
    let last = entries.removeLast()
    guard place < entries.count else { return }
    entries[place] = last
    places[Int(last.slot)] = Int32(place)
    sink(from: rise(from: place))
  }

  @discardableResult
  private mutating func rise(from start: Int) -> Int {
    var place = start
    while place > 0 {
      let above = (place - 1) / 2
      guard entries[place].key < entries[above].key else { break }
      exchange(place, above)
      place = above
    }
    return place
  }

  private mutating func sink(from start: Int) {
    var place = start
    while true {
      var least = place
      for below in [2 * place + 1, 2 * place + 2]
      where below < entries.count && entries[below].key < entries[least].key {
        least = below
      }
      guard least != place else { return }
      exchange(place, least)
      place = least
    }
  }

  private mutating func exchange(_ a: Int, _ b: Int) {
    entries.swapAt(a, b)
    places[Int(entries[a].slot)] = Int32(a)
    places[Int(entries[b].slot)] = Int32(b)
  }
}
