package import KDNCore

/// Why a request was refused: the body of each answer whose status is not 0, and of GOAWAY.
package struct ErrorBody: FrameBody {
  /// When it is of use to ask again, in milliseconds; 0 is never.
  package let retryAfterMilliseconds: UInt32
  /// The field at fault, as the protocol document spells it; may be empty.
  package let field: String
  /// What the field held.
  package let value: UInt64
  /// What it may hold.
  package let limit: UInt64
  /// What is wrong, for people.
  package let message: String

  /// Longest field name, in bytes.
  package static let fieldBytesMax = 256
  /// Longest message, in bytes.
  package static let messageBytesMax = 4096

  /// Creates the body; strings are cut to their limits.
  package init(
    retryAfterMilliseconds: UInt32 = 0, field: String = "", value: UInt64 = 0, limit: UInt64 = 0,
    message: String = ""
  ) {
    self.retryAfterMilliseconds = retryAfterMilliseconds
    self.field = field
    self.value = value
    self.limit = limit
    self.message = message
  }

  /// Tells of `fault`.
  package init(_ fault: FieldFault, retryAfterMilliseconds: UInt32 = 0) {
    self.init(
      retryAfterMilliseconds: retryAfterMilliseconds, field: fault.field, value: fault.value,
      limit: fault.limit, message: fault.problem)
  }

  /// The same as a fault, to be thrown by a client.
  package var fault: FieldFault { FieldFault(field, value: value, limit: limit, message) }

  /// Decodes a whole body; throws a fault that names `field`, `message` or `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 24)
    retryAfterMilliseconds = try reader.take("retryAfterMillis")
    field = try reader.takeText("field", limit: Self.fieldBytesMax)
    try reader.require(atLeast: 18)
    value = try reader.take("value")
    limit = try reader.take("limit")
    message = try reader.takeText("message", limit: Self.messageBytesMax)
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(retryAfterMilliseconds)
    writer.put(field, limit: Self.fieldBytesMax)
    writer.put(value)
    writer.put(limit)
    writer.put(message, limit: Self.messageBytesMax)
  }
}
