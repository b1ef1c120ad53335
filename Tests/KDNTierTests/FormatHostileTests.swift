import KDNCore
import Testing

@testable import KDNTier

/// One field of a structure set to what no writer writes, under a checksum that is right.
struct HostileField: Sendable, CustomTestStringConvertible {
  let offset: Int
  let bytes: [UInt8]
  let field: String

  init(_ offset: Int, _ value: some FixedWidthInteger & Sendable, _ field: String) {
    self.offset = offset
    self.field = field
    bytes = withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  var testDescription: String { "\(field) at \(offset): \(hexadecimal(bytes))" }

  func set(in target: inout [UInt8]) {
    target.replaceSubrange(offset..<offset + bytes.count, with: bytes)
  }
}

@Suite("Numbers that no writer writes are refused, also under a right checksum")
struct FormatHostileTests {
  @Test(
    "in a record header",
    arguments: [
      HostileField(6, 1 as UInt16, "storedBytes"), HostileField(6, UInt16.max, "codec"),
      HostileField(6, 256 as UInt16, "codec"),
      HostileField(24, 0 as UInt32, "blockIndex"),
      HostileField(28, 0 as UInt32, "payloadOffset"),
      HostileField(28, 1024 as UInt32, "payloadOffset"),
      HostileField(28, UInt32.max, "payloadOffset"),
      HostileField(32, 0 as UInt64, "storedBytes"), HostileField(32, 6 as UInt64, "storedBytes"),
      HostileField(32, 1 << 40 + 1 as UInt64, "storedBytes"),
      HostileField(32, UInt64.max, "storedBytes"),
      HostileField(40, 0 as UInt16, "namespace"), HostileField(40, 129 as UInt16, "namespace"),
      HostileField(40, UInt16.max, "namespace"), HostileField(40, 3 as UInt16, "namespace"),
      HostileField(42, 1 as UInt8, "reserved"), HostileField(47, 1 as UInt8, "reserved"),
      HostileField(48, UInt8(ascii: "/"), "namespace"),
      HostileField(48, 0xFF as UInt8, "namespace"),
      HostileField(175, 1 as UInt8, "namespace"),
      HostileField(184, 0 as UInt8, "kind"), HostileField(184, 3 as UInt8, "kind"),
      HostileField(280, 0 as UInt64, "byteCount"), HostileField(280, UInt64.max, "byteCount"),
      HostileField(296, 1 << 63 as UInt64, "firstToken"),
      HostileField(308, 1 as UInt8, "reserved"), HostileField(336, 1 as UInt8, "reserved"),
      HostileField(503, 1 as UInt8, "reserved"),
    ])
  func recordHeader(_ hostile: HostileField) throws {
    #expect(try recordFault(hostile, isOpaque: false)?.field == hostile.field)
  }

  @Test(
    "in the record header of an opaque object",
    arguments: [
      HostileField(188, 1 as UInt32, "variant"), HostileField(248, 1 as UInt8, "parent"),
      HostileField(304, 1 as UInt32, "tokenCount"),
    ])
  func opaqueHeader(_ hostile: HostileField) throws {
    #expect(try recordFault(hostile, isOpaque: true)?.field == hostile.field)
  }

  @Test(
    "in the record header of an encoded object",
    arguments: [
      HostileField(6, 0 as UInt16, "reserved"), HostileField(6, 256 as UInt16, "codec"),
      HostileField(32, 0 as UInt64, "storedBytes"), HostileField(32, 5 as UInt64, "storedBytes"),
      HostileField(32, 1 << 40 + 1 as UInt64, "storedBytes"),
      HostileField(280, 3 as UInt64, "storedBytes"), HostileField(384, 1 as UInt8, "reserved"),
      HostileField(503, 1 as UInt8, "reserved"),
    ])
  func encodedHeader(_ hostile: HostileField) throws {
    let form = StoredForm(
      codec: 1, byteCount: 3, checksum: Checksum(2), decodedChecksum: Checksum(1),
      profile: HashChain.opaque([1]))
    #expect(
      try recordFault(hostile, isOpaque: false, form: form)?.field == hostile.field)
  }

  @Test("a codec of which nobody knows anything is for the reader of the bytes, not a fault")
  func unknownCodec() throws {
    let form = StoredForm(
      codec: 1, byteCount: 3, checksum: Checksum(2), decodedChecksum: Checksum(3))
    #expect(
      try recordFault(HostileField(6, 200 as UInt16, ""), isOpaque: true, form: form) == nil)
  }

  @Test("an opaque object may begin at any position, as the protocol lets it")
  func opaquePosition() throws {
    #expect(try recordFault(HostileField(296, 7 as UInt64, ""), isOpaque: true) == nil)
  }

  @Test(
    "in a segment header",
    arguments: [
      HostileField(24, 0 as UInt64, "segmentBytes"),
      HostileField(24, 3 * 4096 as UInt64, "segmentBytes"),
      HostileField(24, 1 << 20 + 1 as UInt64, "segmentBytes"),
      HostileField(24, 1 << 44 + 4096 as UInt64, "segmentBytes"),
      HostileField(24, UInt64.max, "segmentBytes"), HostileField(6, 1 as UInt8, "reserved"),
      HostileField(56, 1 as UInt8, "reserved"), HostileField(4087, 1 as UInt8, "reserved"),
    ])
  func segmentHeader(_ hostile: HostileField) throws {
    #expect(try sealedFault(.segmentHeader, hostile)?.field == hostile.field)
  }

  @Test(
    "in a segment trailer",
    arguments: [
      HostileField(24, 0 as UInt32, "footerBlock"),
      HostileField(40, 0 as UInt64, "lastSequence"), HostileField(7, 1 as UInt8, "reserved"),
      HostileField(56, 1 as UInt8, "reserved"), HostileField(4087, 1 as UInt8, "reserved"),
    ])
  func segmentTrailer(_ hostile: HostileField) throws {
    var bytes = try FormatStructure.segmentTrailer.sample(9)
    store(5 as UInt64, in: &bytes, at: 32)
    store(5 as UInt64, in: &bytes, at: 40)
    hostile.set(in: &bytes)
    reseal(&bytes)
    #expect(FormatStructure.segmentTrailer.refusal(bytes)?.field == hostile.field)
  }

  @Test(
    "in a superblock",
    arguments: [
      HostileField(24, 4095 as UInt64, "segmentBytes"),
      HostileField(24, UInt64.max, "segmentBytes"), HostileField(32, 0 as UInt64, "journalBytes"),
      HostileField(32, 1 << 20 + 512 as UInt64, "journalBytes"),
      HostileField(32, 1 << 63 as UInt64, "journalBytes"), HostileField(6, 1 as UInt8, "reserved"),
      HostileField(48, 1 as UInt8, "reserved"),
    ])
  func superblock(_ hostile: HostileField) throws {
    #expect(try sealedFault(.superblock, hostile)?.field == hostile.field)
  }

  @Test(
    "in a journal's header",
    arguments: [HostileField(6, 1 as UInt8, "reserved"), HostileField(32, 1 as UInt8, "reserved")])
  func journalHeader(_ hostile: HostileField) throws {
    #expect(try sealedFault(.journalHeader, hostile)?.field == hostile.field)
  }

  @Test(
    "in a checkpoint",
    arguments: [
      HostileField(24, 100 as UInt64, "contentChecksum"), HostileField(24, 400 as UInt64, "length"),
      HostileField(24, 1 << 28 as UInt64, "length"),
      HostileField(24, 1 << 28 + 1 as UInt64, "entryCount"),
      HostileField(24, UInt64.max, "entryCount"), HostileField(40, 1 as UInt8, "reserved"),
    ])
  func checkpoint(_ hostile: HostileField) throws {
    var bytes = try FormatStructure.checkpoint.sample(9)
    hostile.set(in: &bytes)
    var header = Array(bytes[..<4096])
    reseal(&header)
    bytes.replaceSubrange(..<4096, with: header)
    #expect(FormatStructure.checkpoint.refusal(bytes)?.field == hostile.field)
  }

  @Test("in the bytes behind a checkpoint's last entry")
  func checkpointPadding() throws {
    var bytes = try FormatStructure.checkpoint.sample(9)
    bytes[bytes.count - 1] = 1
    var header = Array(bytes[..<4096])
    store(Checksum(of: Array(bytes[4096...])).value, in: &header, at: 32)
    reseal(&header)
    bytes.replaceSubrange(..<4096, with: header)
    #expect(FormatStructure.checkpoint.refusal(bytes)?.field == "reserved")
  }

  @Test(
    "in a journal frame",
    arguments: [
      HostileField(6, 0 as UInt16, "byteCount"), HostileField(6, 2 as UInt16, "kind"),
      HostileField(6, UInt16.max, "kind"), HostileField(8, 0 as UInt32, "blocks"),
      HostileField(8, 3 as UInt32, "blocks"), HostileField(8, UInt32.max, "blocks"),
      HostileField(12, 0 as UInt32, "byteCount"), HostileField(12, 5000 as UInt32, "byteCount"),
      HostileField(12, 9000 as UInt32, "byteCount"), HostileField(12, UInt32.max, "byteCount"),
      HostileField(32, 0 as UInt8, "kind"), HostileField(32, 9 as UInt8, "kind"),
      HostileField(33, 0 as UInt16, "namespace"), HostileField(33, 129 as UInt16, "namespace"),
      HostileField(33, UInt16.max, "namespace"), HostileField(35, UInt8(ascii: " "), "namespace"),
      HostileField(44, 4097 as UInt16, "count"), HostileField(44, UInt16.max, "count"),
      HostileField(44, 126 as UInt16, "byteCount"), HostileField(44, 200 as UInt16, "hash"),
      HostileField(4096, 0 as UInt8, "continuation"),
      HostileField(4100, 2 as UInt32, "continuation"), HostileField(8183, 1 as UInt8, "reserved"),
    ])
  func journalFrame(_ hostile: HostileField) throws {
    var samples = FormatSamples(seed: 3)
    let hashes = try (0..<127).map { _ in try samples.hash() }
    let frame = JournalFrame(
      epoch: 7, index: 3,
      entries: [.purgedChunks(try NamespaceName("n"), sequence: 1, hashes: hashes)])
    var bytes = frame.blocks
    #expect(bytes.count == 8192)
    hostile.set(in: &bytes)
    reseal(&bytes)
    #expect(FormatStructure.frame(lists: 3).refusal(bytes)?.field == hostile.field)
  }

  @Test("a frame longer than the limit is refused, however long the journal")
  func frameLimit() {
    var bytes = [UInt8](repeating: 0, count: 2 << 20)
    bytes.replaceSubrange(0..<6, with: Array("KDNE".utf8) + [1, 0])
    store(UInt32(257), in: &bytes, at: 8)
    reseal(&bytes)
    #expect(FormatStructure.frame(lists: 3).refusal(bytes)?.field == "blocks")
  }

  @Test("a layout longer than the limit is refused before it is looked at")
  func layoutLimit() throws {
    var writer = ByteWriter()
    writer.put(UInt8(5))
    writer.put("n")
    writer.put(UInt32(JournalEntry.layoutBytesMax + 1))
    let bytes = writer.bytes + [UInt8](repeating: 0, count: JournalEntry.layoutBytesMax + 1)
    let fault = refused { () throws(FieldFault) in
      var reader = ByteReader(bytes)
      _ = try JournalEntry(from: &reader)
    }
    #expect(fault?.field == "layoutBytes")
  }

  private func recordFault(
    _ hostile: HostileField, isOpaque: Bool, form: StoredForm? = nil
  ) throws -> FieldFault? {
    let hash = try ChunkHash([UInt8](repeating: 7, count: 32))
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    let facts = ObjectFacts(
      namespace: try NamespaceName("tenant"), generation: 1,
      key: isOpaque
        ? ObjectKey(opaque: hash)
        : ObjectKey(hash: hash, layout: LayoutID(ofCanonicalEncoding: [1]), part: part),
      byteCount: 5, checksum: Checksum(1), form: form, tokenCount: isOpaque ? 0 : 16,
      storedAtMilliseconds: 1)
    let header = RecordHeader(
      facts: facts, incarnation: 1, sequence: 1, blockIndex: 1, isPaged: false)
    var bytes = written(512) { header.write(to: $0, nonce: FormatStructure.nonce) }
    hostile.set(in: &bytes)
    store(FormatStructure.nonce, in: &bytes, at: 504)
    store(Checksum(of: bytes).value, in: &bytes, at: 504)
    return FormatStructure.recordHeader.refusal(bytes)
  }

  private func sealedFault(
    _ structure: FormatStructure, _ hostile: HostileField
  ) throws -> FieldFault? {
    var bytes = try structure.sample(9)
    hostile.set(in: &bytes)
    reseal(&bytes)
    return structure.refusal(bytes)
  }
}

/// Makes the checksum at the end of `bytes` right.
func reseal(_ bytes: inout [UInt8]) {
  store(Checksum(of: bytes, first: bytes.count - 8).value, in: &bytes, at: bytes.count - 8)
}
