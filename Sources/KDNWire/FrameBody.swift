package import KDNCore

/// The fields of one operation's frame.
package protocol FrameBody: Equatable, Sendable {
  /// Appends the body to `writer`.
  func write(to writer: inout ByteWriter)
}

/// The body of operations that say all with their number.
package struct EmptyBody: FrameBody {
  /// Creates the body.
  package init() {}

  /// Checks that nothing is left; throws a fault that names `bodyLength` otherwise.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {}
}

extension ByteReader {
  /// Throws a fault that names `bodyLength` if other than `count` bytes are left.
  func require(exactly count: Int) throws(FieldFault) {
    guard remaining == count else {
      throw FieldFault(
        "bodyLength", value: remaining, limit: count,
        remaining < count ? "body too short" : "bytes left over at the end of the body")
    }
  }

  /// Throws a fault that names `bodyLength` if fewer than `count` bytes are left.
  func require(atLeast count: Int) throws(FieldFault) {
    guard remaining >= count else {
      throw FieldFault("bodyLength", value: remaining, limit: count, "body too short")
    }
  }

  /// Takes a string as `takeString`, but a body that ends inside it is named `bodyLength`.
  mutating func takeText(
    _ field: StaticString, least: Int = 0, limit: Int
  ) throws(FieldFault) -> String {
    try require(atLeast: 2)
    var front = self
    let count = Int(try front.take(field, as: UInt16.self))
    if count <= limit { try front.require(atLeast: count) }
    return try takeString(field, least: least, limit: limit)
  }

  /// Takes a u32 that must be `least` to `limit`.
  mutating func takeCount(
    _ field: StaticString, least: Int = 0, limit: Int
  ) throws(FieldFault) -> Int {
    let count = Int(try take(field, as: UInt32.self))
    guard count >= least else {
      throw FieldFault("\(field)", value: count, limit: least, "too few")
    }
    guard count <= limit else {
      throw FieldFault("\(field)", value: count, limit: limit, "too many")
    }
    return count
  }

  /// Takes a u16 that must be `least` to `limit`.
  mutating func takeShortCount(
    _ field: StaticString, least: Int = 0, limit: Int
  ) throws(FieldFault) -> Int {
    let count = Int(try take(field, as: UInt16.self))
    guard (least...limit).contains(count) else {
      throw FieldFault(
        "\(field)", value: count, limit: count < least ? least : limit,
        count < least ? "too few" : "too many")
    }
    return count
  }

  /// Takes a document's name; throws a fault that names `name` or `bodyLength`.
  mutating func takeDocumentName() throws(FieldFault) -> String {
    try Document.checked(try takeText("name", limit: Document.nameBytesMax))
  }

  /// Takes a reserved u8, which must be zero.
  mutating func takeZero(
    _ type: UInt8.Type, _ field: StaticString = "reserved"
  ) throws(FieldFault) {
    try Self.checkZero(UInt64(try take(field, as: UInt8.self)), field)
  }

  /// Takes a reserved u16, which must be zero.
  mutating func takeZero(
    _ type: UInt16.Type, _ field: StaticString = "reserved"
  ) throws(FieldFault) {
    try Self.checkZero(UInt64(try take(field, as: UInt16.self)), field)
  }

  /// Takes a reserved u32, which must be zero.
  mutating func takeZero(
    _ type: UInt32.Type, _ field: StaticString = "reserved"
  ) throws(FieldFault) {
    try Self.checkZero(UInt64(try take(field, as: UInt32.self)), field)
  }

  private static func checkZero(_ value: UInt64, _ field: StaticString) throws(FieldFault) {
    guard value == 0 else {
      throw FieldFault("\(field)", value: value, limit: 0, "must be zero")
    }
  }

  /// Takes a u64 byte count that fits this machine's integers.
  mutating func takeByteCount(
    _ field: StaticString, limit: Int = .max
  ) throws(FieldFault) -> Int {
    let value: UInt64 = try take(field)
    guard let count = Int(exactly: value), count <= limit else {
      throw FieldFault("\(field)", value: value, limit: UInt64(limit), "too many bytes")
    }
    return count
  }
}
