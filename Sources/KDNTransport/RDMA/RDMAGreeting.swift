package import KDNCore

/// What each side tells the other while connecting: how much it is ready to receive.
///
/// Travels as the connection manager's private data; 16 bytes, padded with zeros by some fabrics.
package struct RDMAGreeting: Hashable, Sendable {
  /// Bytes of the encoded greeting.
  package static let byteCount = 16
  /// From 3 on a stream that goes both ways cannot stand still: see `RDMACredit`.
  package static let receivesRange = 3...1024
  /// Messages shorter than this are all overhead.
  package static let messageBytesRange = 256...65536
  private static let magic = Array("KDNR".utf8)
  private static let version: UInt8 = 1

  /// Receives posted for the other side's messages.
  package let receives: Int
  /// Longest message that fits a receive, its prefix included.
  package let messageBytes: Int

  /// Creates a greeting; traps if the numbers are outside their ranges.
  package init(receives: Int, messageBytes: Int) {
    precondition(Self.receivesRange.contains(receives), "receives outside their range")
    precondition(Self.messageBytesRange.contains(messageBytes), "message length outside its range")
    self.receives = receives
    self.messageBytes = messageBytes
  }

  /// Decodes the front of `bytes`; what follows must be zero.
  ///
  /// - Throws: a fault that names the field that is malformed or outside its range.
  package init(decoding bytes: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(bytes)
    guard try Array(reader.takeBytes("magic", count: 4)) == Self.magic else {
      throw FieldFault("magic", value: 0, limit: 0, "not a KDN peer")
    }
    let version = try reader.take("version", as: UInt8.self)
    guard version == Self.version else {
      throw FieldFault(
        "version", value: UInt64(version), limit: UInt64(Self.version), "unknown version")
    }
    try reader.takeReserved(count: 1)
    let receives = Int(try reader.take("receives", as: UInt16.self))
    let messageBytes = Int(try reader.take("messageBytes", as: UInt32.self))
    try reader.takeReserved(count: 4)
    try reader.takeReserved("padding", count: reader.remaining)
    try Self.check("receives", receives, Self.receivesRange)
    try Self.check("messageBytes", messageBytes, Self.messageBytesRange)
    self.init(receives: receives, messageBytes: messageBytes)
  }

  /// Decodes what the other side said while connecting.
  ///
  /// - Throws: `handshake` with the field at fault.
  init(heard bytes: [UInt8]) throws(RDMAFault) {
    do throws(FieldFault) {
      try self.init(decoding: bytes)
    } catch {
      throw .handshake(error)
    }
  }

  /// The greeting's bytes.
  package var encoded: [UInt8] {
    var writer = ByteWriter(capacity: Self.byteCount)
    writer.put(contentsOf: Self.magic)
    writer.put(Self.version)
    writer.put(UInt8(0))
    writer.put(UInt16(receives))
    writer.put(UInt32(messageBytes))
    writer.put(UInt32(0))
    return writer.bytes
  }

  private static func check(
    _ field: String, _ value: Int, _ range: ClosedRange<Int>
  ) throws(FieldFault) {
    guard value >= range.lowerBound else {
      throw FieldFault(field, value: value, limit: range.lowerBound, "too small")
    }
    guard value <= range.upperBound else {
      throw FieldFault(field, value: value, limit: range.upperBound, "too large")
    }
  }
}
