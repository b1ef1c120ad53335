internal import KDNCore

extension EncodedHeader {
  /// Bytes of the header of an object with these facts.
  static func byteCount(layoutBytes: Int, frequencies: [[Double]], blockCount: Int) -> Int {
    fixedByteCount + (layoutBytes + 7) / 8 * 8 + frequencies.reduce(0) { $0 + $1.count * 8 }
      + blockCount * BlockEntry.byteCount + 8
  }

  /// The header's bytes.
  func encoded() -> [UInt8] {
    let layout = facts.layout?.canonicalEncoding ?? []
    var writer = ByteWriter(capacity: headerByteCount)
    writer.put(contentsOf: Self.magic)
    writer.put(Self.version)
    writer.put(codecClass.rawValue)
    writer.put(UInt8(0))
    writer.put(UInt32(headerByteCount))
    writer.put(UInt32(blocks.count))
    writer.put(UInt64(rawByteCount))
    writer.put(rawChecksum.value)
    writer.put(decodedChecksum.value)
    (facts.layout == nil ? LayoutID.none : LayoutID(ofCanonicalEncoding: layout))
      .write(to: &writer)
    facts.part.write(to: &writer)
    writer.put(facts.firstToken)
    writer.put(UInt32(facts.tokenCount))
    writer.put(UInt32(layout.count))
    (profile ?? .none).write(to: &writer)
    writer.put(contentsOf: layout)
    writer.putZeros(-writer.count & 7)
    for frequency in frequencies.joined() { writer.put(frequency) }
    for block in blocks { block.write(to: &writer) }
    writer.put(Checksum(of: writer.bytes).value)
    precondition(writer.count == headerByteCount, "a header is as long as it says")
    return writer.bytes
  }
}
