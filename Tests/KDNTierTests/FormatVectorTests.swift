import KDNCore
import Testing

@testable import KDNTier

@Suite("Golden vectors of structures on disk: written and read as the document says")
struct FormatVectorTests {
  @Test("superblocks", arguments: DiskVectors.all.superblocks)
  func superblock(_ vector: DiskVector<SuperblockFields>) throws {
    let value = try vector.fields.value()
    #expect(written(vector.bytes.count) { value.write(to: $0) } == vector.bytes)
    #expect(try reading(vector.bytes, Superblock.init(reading:)) == value)
  }

  @Test("journal headers", arguments: DiskVectors.all.journalHeaders)
  func journalHeader(_ vector: DiskVector<JournalHeaderFields>) throws {
    let value = try vector.fields.value()
    #expect(written(vector.bytes.count) { value.write(to: $0) } == vector.bytes)
    #expect(try reading(vector.bytes, JournalHeader.init(reading:)) == value)
  }

  @Test("segment headers", arguments: DiskVectors.all.segmentHeaders)
  func segmentHeader(_ vector: DiskVector<SegmentHeaderFields>) throws {
    let value = try vector.fields.value()
    #expect(written(vector.bytes.count) { value.write(to: $0) } == vector.bytes)
    #expect(try reading(vector.bytes, SegmentHeader.init(reading:)) == value)
  }

  @Test("record headers", arguments: DiskVectors.all.recordHeaders)
  func recordHeader(_ vector: DiskVector<RecordHeaderFields>) throws {
    let value = try vector.fields.value()
    let nonce = vector.fields.nonce
    #expect(written(vector.bytes.count) { value.write(to: $0, nonce: nonce) } == vector.bytes)
    let copy = try reading(vector.bytes) { buffer throws(FieldFault) in
      try RecordHeader(reading: buffer, nonce: nonce)
    }
    #expect(copy == value)
    #expect(copy.payloadOffset == vector.fields.payloadOffset)
  }

  @Test("segment trailers", arguments: DiskVectors.all.segmentTrailers)
  func segmentTrailer(_ vector: DiskVector<SegmentTrailerFields>) throws {
    let value = vector.fields.value()
    #expect(written(vector.bytes.count) { value.write(to: $0) } == vector.bytes)
    #expect(try reading(vector.bytes, SegmentTrailer.init(reading:)) == value)
  }

  @Test("a trailer's footer checksum is that of its records")
  func footer() throws {
    let trailer = try #require(DiskVectors.all.segmentTrailers.first).fields
    let records = DiskVectors.all.recordHeaders.prefix(2)
    #expect(trailer.recordCount == records.count)
    #expect(Checksum(of: records.flatMap(\.bytes)).value == trailer.footerChecksum)
  }

  @Test("journal frames", arguments: DiskVectors.all.journalFrames)
  func journalFrame(_ vector: DiskVector<JournalFrameFields>) throws {
    let value = try vector.fields.value()
    #expect(value.blocks == vector.bytes)
    let (copy, byteCount) = try reading(vector.bytes) { buffer throws(FieldFault) in
      try JournalFrame.read(buffer, epoch: value.epoch, index: value.index)
    }
    #expect(copy == value)
    #expect(byteCount == vector.bytes.count)
  }

  @Test("checkpoints", arguments: DiskVectors.all.checkpoints)
  func checkpoint(_ vector: DiskVector<CheckpointFields>) throws {
    let value = try vector.fields.value()
    #expect(written(vector.bytes.count) { value.write(to: $0) } == vector.bytes)
    let copy = try reading(vector.bytes) { buffer throws(FieldFault) in
      try Checkpoint(reading: buffer, directoryID: value.directoryID)
    }
    #expect(copy == value)
  }
}
