/// Reads little-endian fields from the front of a byte array, never past its end.
package struct ByteReader {
  @usableFromInline let bytes: [UInt8]
  @usableFromInline let end: Int
  @usableFromInline var position: Int

  /// Reads `bytes` from its beginning to its end.
  package init(_ bytes: [UInt8]) {
    self.bytes = bytes
    self.position = 0
    self.end = bytes.count
  }

  /// Reads the bytes of `bytes` that lie in `range`, which must be inside the array.
  package init(_ bytes: [UInt8], in range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
    self.bytes = bytes
    self.position = range.lowerBound
    self.end = range.upperBound
  }

  /// Offset of the next byte to be read.
  @inlinable package var offset: Int { position }

  /// How many bytes are left.
  @inlinable package var remaining: Int { end - position }

  // One function per width, since a generic one is not specialised across modules: a decoder in
  // another module would pay for looking up the type at each field.

  /// Takes a UInt8; throws a fault that names `field` if the bytes end before.
  package mutating func take(
    _ field: StaticString, as type: UInt8.Type = UInt8.self
  ) throws(FieldFault) -> UInt8 {
    try takeInteger(field)
  }

  /// Takes a UInt16; throws a fault that names `field` if the bytes end before.
  package mutating func take(
    _ field: StaticString, as type: UInt16.Type = UInt16.self
  ) throws(FieldFault) -> UInt16 {
    try takeInteger(field)
  }

  /// Takes a UInt32; throws a fault that names `field` if the bytes end before.
  package mutating func take(
    _ field: StaticString, as type: UInt32.Type = UInt32.self
  ) throws(FieldFault) -> UInt32 {
    try takeInteger(field)
  }

  /// Takes a UInt64; throws a fault that names `field` if the bytes end before.
  package mutating func take(
    _ field: StaticString, as type: UInt64.Type = UInt64.self
  ) throws(FieldFault) -> UInt64 {
    try takeInteger(field)
  }

  @inline(__always)
  private mutating func takeInteger<T: FixedWidthInteger>(
    _ field: StaticString
  ) throws(FieldFault) -> T {
    let width = MemoryLayout<T>.size
    guard remaining >= width else { throw truncated(field, wanted: width) }
    // Safe because: the bound was checked on the line above, and integers have no invalid bits.
    let value = unsafe bytes.withUnsafeBytes {
      unsafe $0.loadUnaligned(fromByteOffset: position, as: T.self)
    }
    position += width
    return T(littleEndian: value)
  }

  /// Takes an IEEE 754 double; throws a fault that names `field` if the bytes end before.
  package mutating func takeDouble(_ field: StaticString) throws(FieldFault) -> Double {
    Double(bitPattern: try take(field))
  }

  /// Takes `count` bytes; throws a fault that names `field` if fewer are left.
  package mutating func takeBytes(
    _ field: StaticString, count: Int
  ) throws(FieldFault) -> ArraySlice<UInt8> {
    guard count >= 0, remaining >= count else { throw truncated(field, wanted: count) }
    defer { position += count }
    return bytes[position..<position + count]
  }

  /// Takes a string of UTF-8 behind its u16 length; throws a fault if it is longer than `limit`
  /// bytes, shorter than `least`, cut off, or not UTF-8.
  package mutating func takeString(
    _ field: StaticString, least: Int = 0, limit: Int
  ) throws(FieldFault) -> String {
    let count = Int(try take(field, as: UInt16.self))
    guard count <= limit else {
      throw FieldFault("\(field)", value: count, limit: limit, "too long")
    }
    guard count >= least else {
      throw FieldFault("\(field)", value: count, limit: least, "too short")
    }
    guard let text = String(validating: try takeBytes(field, count: count), as: UTF8.self) else {
      throw FieldFault("\(field)", value: count, limit: limit, "not UTF-8")
    }
    return text
  }

  /// Takes `count` bytes that must all be zero; throws a fault that names `field` otherwise.
  package mutating func takeReserved(
    _ field: StaticString = "reserved", count: Int
  ) throws(FieldFault) {
    for byte in try takeBytes(field, count: count) where byte != 0 {
      throw FieldFault("\(field)", value: UInt64(byte), limit: 0, "reserved bytes must be zero")
    }
  }

  /// The checksum of the next `count` bytes, which must be there; takes nothing.
  package func checksum(next count: Int) -> Checksum {
    precondition(count >= 0 && count <= remaining, "no checksum of bytes beyond the end")
    return unsafe bytes.withUnsafeBytes { whole in
      let next = unsafe UnsafeRawBufferPointer(rebasing: whole[position..<position + count])
      return unsafe Checksum(of: next)
    }
  }

  /// Throws a fault if bytes are left over.
  package func finish(_ field: StaticString = "body") throws(FieldFault) {
    guard remaining == 0 else {
      throw FieldFault("\(field)", value: end, limit: position, "bytes left over at the end")
    }
  }

  @usableFromInline
  func truncated(_ field: StaticString, wanted: Int) -> FieldFault {
    FieldFault("\(field)", value: remaining, limit: wanted, "bytes end before this field")
  }
}
