import KDNCore
import Testing

@testable import KDNTier

@Suite("Structures on disk are read as they were written")
struct FormatRoundTripTests {
  @Test(
    "what is read from written bytes writes the same bytes",
    arguments: FormatStructure.all, 1...40 as ClosedRange<UInt64>)
  func copies(_ structure: FormatStructure, seed: UInt64) throws {
    let bytes = try structure.sample(seed)
    #expect(try structure.copy(bytes) == bytes)
  }

  @Test("a segment header keeps all its facts", arguments: 1...40 as ClosedRange<UInt64>)
  func segmentHeader(seed: UInt64) throws {
    var samples = FormatSamples(seed: seed)
    let header = try samples.segmentHeader()
    let bytes = written(SegmentHeader.byteCount) { header.write(to: $0) }
    #expect(try reading(bytes, SegmentHeader.init(reading:)) == header)
  }

  @Test("a record header keeps all its facts", arguments: 1...200 as ClosedRange<UInt64>)
  func recordHeader(seed: UInt64) throws {
    var samples = FormatSamples(seed: seed)
    let header = try samples.recordHeader()
    let nonce = samples.number()
    let bytes = written(RecordHeader.byteCount) { header.write(to: $0, nonce: nonce) }
    let copy = try reading(bytes) { buffer throws(FieldFault) in
      try RecordHeader(reading: buffer, nonce: nonce)
    }
    #expect(copy == header)
  }

  @Test("a segment trailer keeps all its facts", arguments: 1...40 as ClosedRange<UInt64>)
  func segmentTrailer(seed: UInt64) throws {
    var samples = FormatSamples(seed: seed)
    let trailer = samples.segmentTrailer()
    let bytes = written(SegmentTrailer.byteCount) { trailer.write(to: $0) }
    #expect(try reading(bytes, SegmentTrailer.init(reading:)) == trailer)
  }

  @Test("a superblock keeps all its facts", arguments: 1...40 as ClosedRange<UInt64>)
  func superblock(seed: UInt64) throws {
    var samples = FormatSamples(seed: seed)
    let superblock = try samples.superblock()
    let bytes = written(Superblock.byteCount) { superblock.write(to: $0) }
    #expect(try reading(bytes, Superblock.init(reading:)) == superblock)
  }

  @Test("a journal's header keeps epoch and directory")
  func journalHeader() throws {
    let header = JournalHeader(epoch: .max, directoryID: .random())
    let bytes = written(JournalHeader.byteCount) { header.write(to: $0) }
    #expect(try reading(bytes, JournalHeader.init(reading:)) == header)
  }

  @Test(
    "a journal frame keeps all entries in their order",
    arguments: [0, 1, 5, 100, JournalEntry.countMax])
  func journalFrame(lists: Int) throws {
    var samples = FormatSamples(seed: UInt64(lists))
    let frame = JournalFrame(
      epoch: samples.number(), index: samples.number(),
      entries: try samples.journalEntries(count: lists).shuffled(using: &samples.source))
    let bytes = frame.blocks
    let (copy, byteCount) = try read(bytes + [UInt8](repeating: 0xFF, count: 8192), like: frame)
    #expect(copy == frame)
    #expect(byteCount == bytes.count)
  }

  @Test("an entry takes as many bytes as it says", arguments: [0, 1, 77])
  func entryBytes(lists: Int) throws {
    var samples = FormatSamples(seed: UInt64(lists))
    for entry in try samples.journalEntries(count: lists) {
      var writer = ByteWriter()
      entry.write(to: &writer)
      #expect(writer.count == entry.encodedBytes)
    }
  }

  @Test("a frame takes one more block exactly when its entries fill the ones before")
  func frameBlocks() throws {
    #expect(JournalFrame.blocks(for: []) == 1)
    for (blocks, capacity) in [(1, 4056), (2, 8144), (3, 12232)] {
      #expect(JournalFrame.blocks(entryBytes: capacity) == blocks)
      #expect(JournalFrame.blocks(entryBytes: capacity + 1) == blocks + 1)
    }
    let longest = JournalFrame.byteCountMax / diskBlockBytes
    #expect(JournalFrame.blocks(entryBytes: JournalFrame.entryBytesMax) == longest)
  }

  @Test("entries that end near the end of a block come back", arguments: 4040...4072)
  func frameEdges(entryBytes: Int) throws {
    // Reservations have 9 bytes, those with a name 8 + 3 + its length: all sums can be made.
    let name = try NamespaceName(String(repeating: "n", count: 1 + entryBytes % 9))
    var entries: [JournalEntry] = [.generation(name, 1)]
    while entries.reduce(0, { $0 + $1.encodedBytes }) + 9 <= entryBytes {
      entries.append(.sequenceReserved(UInt64(entries.count)))
    }
    let frame = JournalFrame(epoch: 1, index: 0, entries: entries)
    #expect(try read(frame.blocks, like: frame).frame == frame)
  }

  @Test("a checkpoint keeps all its entries", arguments: [0, 1, 170, 171, 5000])
  func checkpoint(count: Int) throws {
    var samples = FormatSamples(seed: UInt64(count))
    let checkpoint = try samples.checkpoint(count: count)
    let byteCount = Checkpoint.byteCount(entries: count)
    var bytes = written(byteCount) { checkpoint.write(to: $0) }
    bytes += [UInt8](repeating: 9, count: diskBlockBytes)
    let copy = try reading(bytes) { buffer throws(FieldFault) in
      try Checkpoint(reading: buffer, directoryID: checkpoint.directoryID)
    }
    #expect(copy == checkpoint)
  }

  @Test(
    "a record takes whole blocks",
    arguments: [
      (1, false, 4096), (3584, false, 4096), (3585, false, 8192), (1, true, 8192),
      (4096, true, 8192), (4097, true, 12288),
    ])
  func recordBytes(stored: Int, isPaged: Bool, expected: Int) throws {
    var samples = FormatSamples(seed: 1)
    var facts = try samples.facts()
    facts.byteCount = stored
    let header = RecordHeader(
      facts: facts, incarnation: 1, sequence: 1, blockIndex: 5, isPaged: isPaged)
    #expect(header.recordBytes == expected)
    #expect(header.blocks == 5..<5 + expected / 4096)
  }

  private func read(
    _ bytes: [UInt8], like frame: JournalFrame
  ) throws -> (frame: JournalFrame, byteCount: Int) {
    try reading(bytes) { buffer throws(FieldFault) in
      try JournalFrame.read(buffer, epoch: frame.epoch, index: frame.index)
    }
  }
}
