internal import KDNCore

extension PayloadCodec {
  /// Takes a codec; throws a fault that names `codec` if this build does not know it.
  init(from reader: inout ByteReader) throws(FieldFault) {
    let raw: UInt8 = try reader.take("codec")
    guard let codec = PayloadCodec(rawValue: raw) else {
      throw FieldFault("codec", value: UInt64(raw), limit: 17, "unknown codec")
    }
    self = codec
  }
}
