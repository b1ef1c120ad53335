internal import DequeModule

/// Names of keys that were heard of, for SCAN: objects are named by hashes, which tell no names.
///
/// Bounded by number and bytes: the oldest go first.
struct KeyNames {
  /// Most names.
  static let countMax = 65_536
  /// Most memory, in bytes.
  static let bytesMax = 8 << 20
  /// What a name takes beside its bytes.
  static let overheadBytes = 96

  private var ring = Deque<[UInt8]?>()
  /// The number of the first one in the ring.
  private var first: UInt64 = 1
  private var numbers: [[UInt8]: UInt64] = [:]
  /// Memory that they take.
  private(set) var bytes = 0

  /// How many names there are.
  var count: Int { numbers.count }

  /// Notes a name; `mayGrow` says whether there is memory for so many bytes.
  ///
  /// - Returns: by how much the memory has changed.
  mutating func note(_ name: [UInt8], mayGrow: (Int) -> Bool) -> Int {
    guard numbers[name] == nil else { return 0 }
    let before = bytes
    let size = name.count + Self.overheadBytes
    while !ring.isEmpty, bytes + size > Self.bytesMax || ring.count >= Self.countMax { dropFirst() }
    guard size <= Self.bytesMax, mayGrow(bytes + size - before) else { return bytes - before }
    numbers[name] = first + UInt64(ring.count)
    ring.append(name)
    bytes += size
    return bytes - before
  }

  /// Forgets a name; returns how many bytes that frees.
  mutating func forget(_ name: [UInt8]) -> Int {
    guard let number = numbers.removeValue(forKey: name) else { return 0 }
    ring[Int(number - first)] = nil
    let size = name.count + Self.overheadBytes
    bytes -= size
    while case .some(.none) = ring.first { dropFirst() }
    return size
  }

  /// Forgets all names; returns how many bytes that frees.
  mutating func forgetAll() -> Int {
    defer { bytes = 0 }
    first += UInt64(ring.count)
    ring = []
    numbers = [:]
    return bytes
  }

  /// Up to `count` names from `cursor` on, in the order in which they were first heard of, and the
  /// cursor to go on with; 0 at the end.
  func page(from cursor: UInt64, count: Int) -> (names: [[UInt8]], next: UInt64) {
    var index = cursor > first ? Int(clamping: cursor - first) : 0
    var names: [[UInt8]] = []
    var left = count
    while index < ring.count, left > 0 {
      if let name = ring[index] { names.append(name) }
      left -= 1
      index += 1
    }
    return (names, index < ring.count ? first + UInt64(index) : 0)
  }

  private mutating func dropFirst() {
    guard let name = ring.popFirst() else { return }
    first += 1
    guard let name else { return }
    numbers[name] = nil
    bytes -= name.count + Self.overheadBytes
  }
}
