import KDNCore
import Testing

@testable import KDNTier

/// One of the structures on disk, as bytes and as the way to read them.
struct FormatStructure: Sendable, CustomTestStringConvertible {
  let name: String
  /// Nonce of the records' segment.
  static let nonce: UInt64 = 0x0123_4567_89AB_CDEF
  /// Epoch and index of the frames.
  static let epoch: UInt64 = 7
  static let index: UInt64 = 3

  /// Bytes of a sample.
  let make: @Sendable (inout FormatSamples) throws -> [UInt8]
  /// Reads bytes and writes what was read again.
  let copy: @Sendable ([UInt8]) throws(FieldFault) -> [UInt8]

  var testDescription: String { name }

  /// A sample of this seed.
  func sample(_ seed: UInt64) throws -> [UInt8] {
    var samples = FormatSamples(seed: seed)
    return try make(&samples)
  }

  /// The fault with which `bytes` are refused, nil if they are not.
  func refusal(_ bytes: [UInt8]) -> FieldFault? {
    do {
      _ = try copy(bytes)
      return nil
    } catch {
      return error
    }
  }

  static let all: [FormatStructure] = [
    segmentHeader, recordHeader, segmentTrailer, superblock, journalHeader, frame(lists: 3),
    frame(lists: 60), checkpoint, documentHeader, documentFrame,
  ]

  static let segmentHeader = FormatStructure(name: "segment header") { samples in
    let header = try samples.segmentHeader()
    return written(4096) { header.write(to: $0) }
  } copy: { bytes throws(FieldFault) in
    let header = try reading(bytes, SegmentHeader.init(reading:))
    return written(4096) { header.write(to: $0) }
  }

  static let recordHeader = FormatStructure(name: "record header") { samples in
    let header = try samples.recordHeader()
    return written(512) { header.write(to: $0, nonce: nonce) }
  } copy: { bytes throws(FieldFault) in
    let header = try reading(bytes) { buffer throws(FieldFault) in
      try RecordHeader(reading: buffer, nonce: nonce)
    }
    return written(512) { header.write(to: $0, nonce: nonce) }
  }

  static let segmentTrailer = FormatStructure(name: "segment trailer") { samples in
    let trailer = samples.segmentTrailer()
    return written(4096) { trailer.write(to: $0) }
  } copy: { bytes throws(FieldFault) in
    let trailer = try reading(bytes, SegmentTrailer.init(reading:))
    return written(4096) { trailer.write(to: $0) }
  }

  static let superblock = FormatStructure(name: "superblock") { samples in
    let superblock = try samples.superblock()
    return written(4096) { superblock.write(to: $0) }
  } copy: { bytes throws(FieldFault) in
    let superblock = try reading(bytes, Superblock.init(reading:))
    return written(4096) { superblock.write(to: $0) }
  }

  static let journalHeader = FormatStructure(name: "journal header") { samples in
    let header = JournalHeader(epoch: samples.number(), directoryID: try samples.directoryID())
    return written(4096) { header.write(to: $0) }
  } copy: { bytes throws(FieldFault) in
    let header = try reading(bytes, JournalHeader.init(reading:))
    return written(4096) { header.write(to: $0) }
  }

  static func frame(lists: Int) -> FormatStructure {
    FormatStructure(name: "journal frame with lists of \(lists)") { samples in
      let entries = try samples.journalEntries(count: lists)
      return JournalFrame(epoch: epoch, index: index, entries: entries).blocks
    } copy: { bytes throws(FieldFault) in
      try reading(bytes) { buffer throws(FieldFault) in
        let (frame, byteCount) = try JournalFrame.read(buffer, epoch: epoch, index: index)
        #expect(byteCount == bytes.count)
        return frame.blocks
      }
    }
  }

  static let documentHeader = FormatStructure(name: "header of documents") { samples in
    let header = DocumentFileHeader(
      nonce: samples.number(), batch: samples.number(),
      stateFrames: Int.random(in: 0...1 << 24, using: &samples.source))
    return written(4096) { header.write(to: $0) }
  } copy: { bytes throws(FieldFault) in
    let header = try reading(bytes, DocumentFileHeader.init(reading:))
    return written(4096) { header.write(to: $0) }
  }

  static let documentFrame = FormatStructure(name: "frame of documents") { samples in
    let changes = try samples.documentChanges()
    return DocumentFrame(nonce: nonce, batch: epoch, changes: changes).blocks
  } copy: { bytes throws(FieldFault) in
    try reading(bytes) { buffer throws(FieldFault) in
      let (frame, byteCount) = try DocumentFrame.read(buffer, nonce: nonce, from: epoch)
      #expect(byteCount == bytes.count)
      return frame.blocks
    }
  }

  static let checkpointDirectory = Result { () throws(FieldFault) in
    var reader = ByteReader(Array(0..<16))
    return try DirectoryID(from: &reader)
  }

  static let checkpoint = FormatStructure(name: "checkpoint") { samples in
    var checkpoint = try samples.checkpoint(count: 200)
    checkpoint.directoryID = try checkpointDirectory.get()
    return written(Checkpoint.byteCount(entries: 200)) { checkpoint.write(to: $0) }
  } copy: { bytes throws(FieldFault) in
    let directoryID = try checkpointDirectory.get()
    let checkpoint = try reading(bytes) { buffer throws(FieldFault) in
      try Checkpoint(reading: buffer, directoryID: directoryID)
    }
    return written(bytes.count) { checkpoint.write(to: $0) }
  }
}

/// Reads `bytes` in place.
func reading<Value>(
  _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(FieldFault) -> Value
) throws(FieldFault) -> Value {
  let result: Result<Value, FieldFault> = bytes.withUnsafeBytes { buffer in
    do throws(FieldFault) {
      return .success(try body(buffer))
    } catch {
      return .failure(error)
    }
  }
  return try result.get()
}
