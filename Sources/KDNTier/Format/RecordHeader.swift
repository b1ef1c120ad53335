/// What stands before an object's bytes in a segment, and again in the segment's footer.
///
/// Its checksum is taken over the segment's nonce too, so that bytes which a client stores, or
/// which a former life of the file left behind, are never taken for a header.
package struct RecordHeader: Equatable, Sendable {
  /// All that is kept of the object besides its bytes.
  package var facts: ObjectFacts
  /// The incarnation of the segment's header.
  package var incarnation: UInt64
  /// Order of writing, unique and growing within the directory: of two records of a key the one
  /// with the larger number counts.
  package var sequence: UInt64
  /// Where the record starts, in blocks from the start of the file.
  package var blockIndex: Int
  /// Where the stored bytes begin, in bytes from the start of the record.
  package var payloadOffset: Int
  /// Length in bytes: one sector of the smallest devices, so that it is written whole or not.
  package static let byteCount = 512
  /// Bytes that are copied behind the header begin here.
  package static let inlinePayloadOffset = 512
  /// Bytes that are written from where they lie, in whole pages, begin here.
  package static let pagedPayloadOffset = diskBlockBytes
  /// Most bytes of an object.
  package static let storedBytesMax = 1 << 40
  /// The codec of bytes that are stored as they are.
  package static let codecRaw = UInt16(StoredForm.raw)

  /// Names a record of the bytes of an object in its form; `isPaged` says whether they begin at a
  /// page or behind the header.
  package init(
    facts: ObjectFacts, incarnation: UInt64, sequence: UInt64, blockIndex: Int, isPaged: Bool
  ) {
    self.facts = facts
    self.incarnation = incarnation
    self.sequence = sequence
    self.blockIndex = blockIndex
    self.payloadOffset = isPaged ? Self.pagedPayloadOffset : Self.inlinePayloadOffset
  }

  /// How the stored bytes become the object's; 0: they are the object's.
  package var codec: UInt16 { UInt16(facts.form?.codec ?? StoredForm.raw) }
  /// How many bytes are stored.
  package var storedBytes: Int { facts.storedBytes }
  /// Whether the bytes begin at a page.
  package var isPaged: Bool { payloadOffset == Self.pagedPayloadOffset }

  /// Bytes that the record takes in the segment, whole blocks.
  package var recordBytes: Int {
    Self.recordBytes(storing: storedBytes, isPaged: isPaged)
  }

  /// Blocks that the record takes in the segment.
  package var blocks: Range<Int> { blockIndex..<blockIndex + recordBytes / diskBlockBytes }

  /// Bytes that a record of `count` stored bytes takes in a segment, whole blocks.
  package static func recordBytes(storing count: Int, isPaged: Bool) -> Int {
    let end = (isPaged ? pagedPayloadOffset : inlinePayloadOffset) + count
    return (end + diskBlockBytes - 1) / diskBlockBytes * diskBlockBytes
  }
}
