internal import KDNCore

/// What a client tells of itself so that the server can choose, per item, what is there by the
/// deadline.
package struct Adaptation: Hashable, Sendable {
  /// Bytes a second that reach the client; 0 if it does not know.
  package let bytesPerSecond: UInt64
  /// Millions of decoded bytes a second of the codecs without a transform; 0: no time at all.
  package let decodeMegabytesPerSecond: UInt32
  /// Millions of decoded bytes a second of the codecs with a transform; 0: no time at all.
  package let transformMegabytesPerSecond: UInt32
  /// Tokens a second that the client computes itself; 0 if it does not know.
  package let prefillTokensPerSecond: UInt32

  /// Bytes on the wire, reserved ones included.
  package static let byteCount = 24

  /// Tells rates.
  package init(
    bytesPerSecond: UInt64 = 0, decodeMegabytesPerSecond: UInt32 = 0,
    transformMegabytesPerSecond: UInt32 = 0, prefillTokensPerSecond: UInt32 = 0
  ) {
    self.bytesPerSecond = bytesPerSecond
    self.decodeMegabytesPerSecond = decodeMegabytesPerSecond
    self.transformMegabytesPerSecond = transformMegabytesPerSecond
    self.prefillTokensPerSecond = prefillTokensPerSecond
  }

  /// Takes 24 bytes; throws a fault that names `bodyLength` or `reserved`.
  init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.byteCount)
    bytesPerSecond = try reader.take("bandwidth")
    decodeMegabytesPerSecond = try reader.take("decodeRate")
    transformMegabytesPerSecond = try reader.take("transformRate")
    prefillTokensPerSecond = try reader.take("prefillRate")
    try reader.takeZero(UInt32.self)
  }

  func write(to writer: inout ByteWriter) {
    writer.put(bytesPerSecond)
    writer.put(decodeMegabytesPerSecond)
    writer.put(transformMegabytesPerSecond)
    writer.put(prefillTokensPerSecond)
    writer.put(UInt32(0))
  }
}
