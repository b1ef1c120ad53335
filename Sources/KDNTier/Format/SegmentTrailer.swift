package import KDNCore

/// The last block of a sealed segment: where its footer is and what must be in it.
///
/// It is written once all records and the footer survive a loss of power.
package struct SegmentTrailer: Equatable, Sendable {
  /// The incarnation of the segment's header.
  package var incarnation: UInt64
  /// The nonce of the segment's header.
  package var nonce: UInt64
  /// First block of the footer, counted from the start of the file.
  package var footerBlock: Int
  /// How many record headers the footer has.
  package var recordCount: Int
  /// Smallest sequence number among them; 0 if there are none.
  package var firstSequence: UInt64
  /// Largest sequence number among them; 0 if there are none.
  package var lastSequence: UInt64
  /// XXH3-64 of the footer's `recordCount` headers, without the padding.
  package var footerChecksum: Checksum

  /// Length in bytes.
  package static let byteCount = diskBlockBytes
  private static let tag = FormatTag("KDNT")

  /// Puts the facts together.
  package init(
    incarnation: UInt64, nonce: UInt64, footerBlock: Int, recordCount: Int, firstSequence: UInt64,
    lastSequence: UInt64, footerChecksum: Checksum
  ) {
    self.incarnation = incarnation
    self.nonce = nonce
    self.footerBlock = footerBlock
    self.recordCount = recordCount
    self.firstSequence = firstSequence
    self.lastSequence = lastSequence
    self.footerChecksum = footerChecksum
  }

  /// Blocks of the footer.
  package var footerBlocks: Int { Self.footerBlocks(records: recordCount) }

  /// Blocks of a footer with `records` headers.
  package static func footerBlocks(records: Int) -> Int {
    (records * RecordHeader.byteCount + diskBlockBytes - 1) / diskBlockBytes
  }

  /// Fills `buffer`, which must have `byteCount` bytes.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    precondition(buffer.count == Self.byteCount, "a segment trailer is one block")
    var writer = ByteWriter(capacity: 64)
    Self.tag.write(to: &writer)
    writer.putZeros(2)
    writer.put(incarnation)
    writer.put(nonce)
    writer.put(UInt32(footerBlock))
    writer.put(UInt32(recordCount))
    writer.put(firstSequence)
    writer.put(lastSequence)
    writer.put(footerChecksum.value)
    unsafe SealedBlock.write(writer, to: buffer)
  }

  /// Reads one block; whether it belongs to the segment's header is for the caller to compare.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `checksum`, `footerBlock`,
  ///   `lastSequence` or `reserved`.
  @unsafe package init(reading buffer: UnsafeRawBufferPointer) throws(FieldFault) {
    var reader = unsafe try SealedBlock.open(buffer, Self.tag, byteCount: Self.byteCount)
    try reader.takeReserved(count: 2)
    incarnation = try reader.take("incarnation")
    nonce = try reader.take("nonce")
    footerBlock = Int(try reader.take("footerBlock", as: UInt32.self))
    recordCount = Int(try reader.take("recordCount", as: UInt32.self))
    firstSequence = try reader.take("firstSequence")
    lastSequence = try reader.take("lastSequence")
    footerChecksum = Checksum(try reader.take("footerChecksum"))
    try reader.takeReserved(count: reader.remaining)
    guard footerBlock >= 1 else {
      throw FieldFault("footerBlock", value: footerBlock, limit: 1, "block 0 is the header")
    }
    guard firstSequence <= lastSequence else {
      throw FieldFault(
        "lastSequence", value: lastSequence, limit: firstSequence, "is before firstSequence")
    }
  }
}
