// Whole objects in arrays: for files and tests.

extension Encoder {
  /// Encodes the object `raw`; see `encode(_:_:)` of spans.
  package func encode(
    _ raw: [UInt8], _ facts: EncodingFacts
  ) throws(CodecFault) -> EncodedObject {
    let span = raw.span
    return try unsafe encode(span.bytes, facts)
  }
}

extension EncodedHeader {
  /// Reads the header that begins `bytes`; see `init(reading:)` of spans.
  package init(reading bytes: [UInt8]) throws(CodecFault) {
    let span = bytes.span
    try unsafe self.init(reading: span.bytes)
  }
}

extension Decoder {
  /// Decodes all of `encoded` into `raw`, whose memory is used again where it is long enough; see
  /// `decode(_:into:)` of spans.
  ///
  /// - Throws: what that throws, and a field fault that names `rawByteCount` if the object has
  ///   more than `limit` bytes.
  package func decode(
    _ encoded: [UInt8], into raw: inout [UInt8], limit: Int
  ) throws(CodecFault) {
    guard header.rawByteCount <= limit else {
      throw .field("rawByteCount", header.rawByteCount, limit: limit, "too large")
    }
    if raw.count != header.rawByteCount {
      raw = [UInt8](repeating: 0, count: header.rawByteCount)
    }
    let span = encoded.span
    var target = raw.mutableSpan
    var room = unsafe target.mutableBytes
    try unsafe decode(span.bytes, into: &room)
  }

  /// Decodes all of `encoded`, as `decode(_:into:limit:)` does.
  package func decode(_ encoded: [UInt8], limit: Int) throws(CodecFault) -> [UInt8] {
    var raw: [UInt8] = []
    try decode(encoded, into: &raw, limit: limit)
    return raw
  }
}
