internal import KDNCore

/// Reads the fields of one block from its front, never past its end.
///
/// The bytes must stay readable while the reader is used.
@unsafe struct BlockReader {
  private let bytes: UnsafeRawBufferPointer
  private var position = 0

  init(_ bytes: UnsafeRawBufferPointer) { unsafe self.bytes = bytes }

  /// How many bytes are left.
  var remaining: Int { unsafe bytes.count - position }

  /// Takes an integer; throws a fault that names `field` if the bytes end before.
  mutating func take<T: FixedWidthInteger>(
    _ field: StaticString, as type: T.Type = T.self
  ) throws(FieldFault) -> T {
    let taken = unsafe try take(field, count: MemoryLayout<T>.size)
    return unsafe T(littleEndian: taken.loadUnaligned(as: T.self))
  }

  /// Takes `count` bytes; throws a fault that names `field` if fewer are left.
  mutating func take(
    _ field: StaticString, count: Int
  ) throws(FieldFault) -> UnsafeRawBufferPointer {
    guard count >= 0, unsafe remaining >= count else {
      throw FieldFault(
        "\(field)", value: unsafe remaining, limit: count, "block ends before this field")
    }
    defer { unsafe position += count }
    return unsafe UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  /// Takes `count` integers; throws a fault that names `field` if fewer are left.
  mutating func takeArray<T: FixedWidthInteger>(
    _ field: StaticString, of type: T.Type, count: Int
  ) throws(FieldFault) -> [T] {
    let taken = unsafe try take(field, count: count * MemoryLayout<T>.size)
    return unsafe [T](unsafeUninitializedCapacity: count) { room, filled in
      unsafe UnsafeMutableRawBufferPointer(room).copyMemory(from: taken)
      filled = count
    }
  }

  /// Takes the zeros up to the next multiple of 8; throws a fault if they are none.
  mutating func pad() throws(FieldFault) {
    let padding = unsafe try take("padding", count: -position & 7)
    guard unsafe padding.allSatisfy({ $0 == 0 }) else {
      throw FieldFault("padding", value: 1, limit: 0, "must be zero")
    }
  }

  /// Throws a fault if bytes are left over.
  func finish() throws(FieldFault) {
    guard unsafe remaining == 0 else {
      throw FieldFault("words", value: unsafe remaining, limit: 0, "bytes left over in a block")
    }
  }
}

extension ByteWriter {
  /// Appends zeros up to the next multiple of 8.
  mutating func pad() { putZeros(-count & 7) }

  /// Appends the bytes of integers, as this little-endian machine has them.
  mutating func put(array: [some FixedWidthInteger]) {
    unsafe array.withUnsafeBytes { unsafe put(contentsOf: $0) }
  }
}
