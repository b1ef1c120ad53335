package import KDNCore

/// A frame after which the next one cannot be found: it costs the connection.
package enum FramingFault: Error, Equatable, Sendable {
  /// The frame does not begin with `KDNP`.
  case magic(UInt32)
  /// The frame is of another protocol version.
  case version(UInt8)
  /// The header's bytes are not those that were sent.
  case headerChecksum(found: UInt32, expected: UInt32)
  /// The body is longer than the connection allows, in bytes.
  case bodyTooLong(UInt64, limit: Int)
  /// The payload is longer than the connection allows, in bytes.
  case payloadTooLong(UInt64, limit: Int)

  /// The same, as a fault of the header field that is wrong.
  package var fault: FieldFault {
    switch self {
    case .magic(let found):
      FieldFault(
        "magic", value: UInt64(found), limit: UInt64(FrameHeader.magic), "not a KDNP frame")
    case .version(let found):
      FieldFault(
        "version", value: UInt64(found), limit: UInt64(FrameHeader.version),
        "unknown protocol version")
    case .headerChecksum(let found, let expected):
      FieldFault(
        "headerChecksum", value: UInt64(found), limit: UInt64(expected), "damaged frame header")
    case .bodyTooLong(let found, let limit):
      FieldFault("bodyLength", value: found, limit: UInt64(clamping: limit), "body too long")
    case .payloadTooLong(let found, let limit):
      FieldFault("payloadLength", value: found, limit: UInt64(clamping: limit), "payload too long")
    }
  }
}
