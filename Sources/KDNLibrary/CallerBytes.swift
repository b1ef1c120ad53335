/// Memory of the caller's, as pointers and lengths tell it.
enum CallerBytes {
  /// Most bytes of an encoded argument.
  private static let encodedBytesMax = 64 << 20

  /// Copies bytes that the caller has encoded.
  ///
  /// - Throws: `invalid` naming `name`.
  static func read(
    _ start: UnsafeRawPointer?, _ length: Int, _ name: String
  ) throws(Failure) -> [UInt8] {
    guard length != 0 else { return [] }
    guard let start = unsafe start else { throw .invalid("\(name) is NULL") }
    guard length > 0, length <= encodedBytesMax else {
      throw .invalid("\(name): \(UInt(bitPattern: length)) bytes, at most \(encodedBytesMax)")
    }
    return unsafe Array(UnsafeRawBufferPointer(start: start, count: length))
  }

  /// Copies `count` records of `byteCount` bytes.
  ///
  /// - Throws: `invalid` naming `name`.
  static func read(
    _ start: UnsafePointer<UInt8>?, of count: Int, each byteCount: Int, _ name: String
  ) throws(Failure) -> [UInt8] {
    guard count >= 0, count <= encodedBytesMax / byteCount else {
      throw .invalid("\(name): \(UInt(bitPattern: count)) are too many")
    }
    return unsafe try read(UnsafeRawPointer(start), count * byteCount, name)
  }

  /// Room that the caller gives for bytes.
  ///
  /// - Throws: `invalid` naming `name`.
  static func room(
    _ start: UnsafeMutableRawPointer?, _ length: Int, _ name: String
  ) throws(Failure) -> UnsafeMutableRawBufferPointer {
    guard unsafe length >= 0 && (start != nil || length == 0) else {
      throw .invalid("\(name): \(UInt(bitPattern: length)) bytes at no place")
    }
    return unsafe UnsafeMutableRawBufferPointer(start: start, count: length)
  }

  /// An array of structures of the caller's.
  ///
  /// - Throws: `invalid` naming `name`, also if there is none in it.
  static func array<Element>(
    _ start: UnsafePointer<Element>?, _ count: Int, _ name: String
  ) throws(Failure) -> UnsafeBufferPointer<Element> {
    guard let start = unsafe start else { throw .invalid("\(name) is NULL") }
    guard count > 0, count <= 1 << 20 else {
      throw .invalid("count: \(UInt(bitPattern: count)) of \(name)")
    }
    return unsafe UnsafeBufferPointer(start: start, count: count)
  }
}
