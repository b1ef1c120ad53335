/// Appends little-endian fields to a byte array that keeps its capacity between uses.
package struct ByteWriter {
  @usableFromInline var storage: [UInt8]

  /// Creates an empty writer with room for `capacity` bytes.
  package init(capacity: Int = 0) {
    storage = []
    storage.reserveCapacity(capacity)
  }

  /// What was written so far.
  @inlinable package var bytes: [UInt8] { storage }

  /// How many bytes were written so far.
  @inlinable package var count: Int { storage.count }

  // One function per width: see ByteReader.

  /// Appends a UInt8.
  package mutating func put(_ value: UInt8) { putInteger(value) }

  /// Appends a UInt16.
  package mutating func put(_ value: UInt16) { putInteger(value) }

  /// Appends a UInt32.
  package mutating func put(_ value: UInt32) { putInteger(value) }

  /// Appends a UInt64.
  package mutating func put(_ value: UInt64) { putInteger(value) }

  /// Appends four UInt64 at once: hashes come by the hundred.
  package mutating func put(_ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64) {
    var words = (a.littleEndian, b.littleEndian, c.littleEndian, d.littleEndian)
    // Safe because: the pointer is to the local above, whose bytes are all initialised.
    unsafe withUnsafeBytes(of: &words) { unsafe storage.append(contentsOf: $0) }
  }

  @inline(__always)
  private mutating func putInteger<T: FixedWidthInteger>(_ value: T) {
    var littleEndian = value.littleEndian
    // Safe because: the pointer is to the local above, whose bytes are all initialised.
    unsafe withUnsafeBytes(of: &littleEndian) { unsafe storage.append(contentsOf: $0) }
  }

  /// Appends an IEEE 754 double.
  package mutating func put(_ value: Double) {
    put(value.bitPattern)
  }

  /// Appends bytes as they are.
  @inlinable
  package mutating func put(contentsOf other: some Sequence<UInt8>) {
    storage.append(contentsOf: other)
  }

  /// Appends `count` zero bytes.
  package mutating func putZeros(_ count: Int) {
    storage.append(contentsOf: repeatElement(0, count: count))
  }

  /// Appends a u16 length and the UTF-8 bytes of `text`, cut to `limit` bytes at a character.
  package mutating func put(_ text: String, limit: Int = Int(UInt16.max)) {
    var cut = text
    while cut.utf8.count > limit { cut.removeLast() }
    put(UInt16(cut.utf8.count))
    storage.append(contentsOf: cut.utf8)
  }

  /// Forgets what was written and keeps the memory.
  package mutating func removeAll() {
    storage.removeAll(keepingCapacity: true)
  }
}
