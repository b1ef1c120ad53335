internal import KDNCore

/// Whole blocks that end in the checksum of all bytes before it: the form of every structure on
/// disk but the record header, whose checksum is keyed.
enum SealedBlock {
  /// Bytes of the checksum at the end.
  static let checksumBytes = 8

  /// Fills `buffer` with content, zeros and checksum; traps if the content does not fit.
  @unsafe static func write(_ content: ByteWriter, to buffer: UnsafeMutableRawBufferPointer) {
    let end = buffer.count - checksumBytes
    precondition(content.count <= end, "the structure is larger than its blocks")
    unsafe buffer.copyBytes(from: content.bytes)
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[content.count..<end])
      .initializeMemory(as: UInt8.self, repeating: 0)
    unsafe seal(buffer)
  }

  /// Writes the checksum of what is in `buffer` at its end.
  @unsafe static func seal(_ buffer: UnsafeMutableRawBufferPointer) {
    let end = buffer.count - checksumBytes
    let checksum = unsafe Checksum(of: UnsafeRawBufferPointer(rebasing: buffer[..<end]))
    unsafe buffer.storeBytes(of: checksum.value.littleEndian, toByteOffset: end, as: UInt64.self)
  }

  /// Checks length, magic, version and checksum, in this order, and gives what is behind magic and
  /// version up to the checksum.
  ///
  /// - Throws: a fault that names `length`, `magic`, the version's field or `checksum`.
  @unsafe static func open(
    _ buffer: UnsafeRawBufferPointer, _ tag: FormatTag, byteCount: Int
  ) throws(FieldFault) -> ByteReader {
    guard buffer.count == byteCount else {
      throw FieldFault("length", value: buffer.count, limit: byteCount, "wrong length")
    }
    unsafe try tag.check(buffer)
    unsafe try checkSeal(buffer)
    let end = byteCount - checksumBytes
    return unsafe ByteReader(Array(buffer), in: FormatTag.byteCount..<end)
  }

  /// Compares the checksum at the end of `buffer`; throws a fault that names `checksum`.
  @unsafe static func checkSeal(_ buffer: UnsafeRawBufferPointer) throws(FieldFault) {
    let end = buffer.count - checksumBytes
    let stored = unsafe UInt64(
      littleEndian: buffer.loadUnaligned(fromByteOffset: end, as: UInt64.self))
    let computed = unsafe Checksum(of: UnsafeRawBufferPointer(rebasing: buffer[..<end])).value
    guard stored == computed else {
      throw FieldFault("checksum", value: stored, limit: computed, "does not match the bytes")
    }
  }
}

extension ByteReader {
  /// Takes a u64 that must be within `range`; throws a fault that names `field`.
  mutating func takeCount(
    _ field: StaticString, in range: ClosedRange<Int>, _ problem: String = "out of range"
  ) throws(FieldFault) -> Int {
    let value: UInt64 = try take(field)
    guard value <= UInt64(range.upperBound) else {
      throw FieldFault("\(field)", value: value, limit: UInt64(range.upperBound), problem)
    }
    guard Int(value) >= range.lowerBound else {
      throw FieldFault("\(field)", value: Int(value), limit: range.lowerBound, problem)
    }
    return Int(value)
  }

  /// Takes a u64 that must be whole blocks within `range`; throws a fault that names `field`.
  mutating func takeBlocks(
    _ field: StaticString, in range: ClosedRange<Int>
  ) throws(FieldFault) -> Int {
    let value = try takeCount(field, in: range)
    guard value % diskBlockBytes == 0 else {
      throw FieldFault("\(field)", value: value, limit: diskBlockBytes, "must be whole blocks")
    }
    return value
  }
}
