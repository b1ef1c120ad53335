import Foundation
import KDNCore
import Testing

@testable import KDNTier

/// Rows of `Vectors/disk.json`.
struct DiskVectors: Decodable {
  let superblocks: [DiskVector<SuperblockFields>]
  let journalHeaders: [DiskVector<JournalHeaderFields>]
  let segmentHeaders: [DiskVector<SegmentHeaderFields>]
  let recordHeaders: [DiskVector<RecordHeaderFields>]
  let segmentTrailers: [DiskVector<SegmentTrailerFields>]
  let journalFrames: [DiskVector<JournalFrameFields>]
  let checkpoints: [DiskVector<CheckpointFields>]

  static let all: DiskVectors = {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Vectors/disk.json")
    do {
      return try JSONDecoder().decode(DiskVectors.self, from: Data(contentsOf: path))
    } catch {
      fatalError("\(path.path): \(error)")
    }
  }()
}

/// One structure: what it says, and its bytes.
struct DiskVector<Fields: Decodable & Sendable>: Decodable, Sendable, CustomTestStringConvertible {
  let name: String
  let fields: Fields
  /// The whole structure.
  let bytes: [UInt8]
  var testDescription: String { name }

  private enum Key: CodingKey {
    case name, fields, byteCount, pieces
  }

  init(from decoder: any Decoder) throws {
    let row = try decoder.container(keyedBy: Key.self)
    name = try row.decode(String.self, forKey: .name)
    fields = try row.decode(Fields.self, forKey: .fields)
    var bytes = [UInt8](repeating: 0, count: try row.decode(Int.self, forKey: .byteCount))
    var pieces = try row.nestedUnkeyedContainer(forKey: .pieces)
    while !pieces.isAtEnd {
      var piece = try pieces.nestedUnkeyedContainer()
      let offset = try piece.decode(Int.self)
      let part = unhex(try piece.decode(String.self))
      bytes.replaceSubrange(offset..<offset + part.count, with: part)
    }
    self.bytes = bytes
  }
}

struct SuperblockFields: Decodable, Sendable {
  let directoryID: String
  let segmentBytes, journalBytes: Int
  let createdAtMilliseconds: UInt64

  func value() throws -> Superblock {
    Superblock(
      directoryID: try id(directoryID), segmentBytes: segmentBytes, journalBytes: journalBytes,
      createdAtMilliseconds: createdAtMilliseconds)
  }
}

struct JournalHeaderFields: Decodable, Sendable {
  let epoch: UInt64
  let directoryID: String

  func value() throws -> JournalHeader {
    JournalHeader(epoch: epoch, directoryID: try id(directoryID))
  }
}

struct SegmentHeaderFields: Decodable, Sendable {
  let incarnation, nonce: UInt64
  let segmentBytes: Int
  let directoryID: String
  let openedAtMilliseconds: UInt64

  func value() throws -> SegmentHeader {
    SegmentHeader(
      incarnation: incarnation, nonce: nonce, segmentBytes: segmentBytes,
      directoryID: try id(directoryID), openedAtMilliseconds: openedAtMilliseconds)
  }
}

struct RecordHeaderFields: Decodable, Sendable {
  let namespace: String
  let generation: UInt64
  let key, parent: String
  let byteCount: Int
  let checksum: UInt64
  let firstToken, tokenCount: Int
  let recomputeMicroseconds, storedAtMilliseconds, ttlMilliseconds: UInt64
  let incarnation, sequence: UInt64
  let blockIndex, payloadOffset: Int
  let nonce: UInt64
  let form: Form?

  struct Form: Decodable, Sendable {
    let codec: UInt8
    let byteCount: Int
    let checksum, decodedChecksum: UInt64
    let profile: String

    func value() throws -> StoredForm {
      StoredForm(
        codec: codec, byteCount: byteCount, checksum: Checksum(checksum),
        decodedChecksum: Checksum(decodedChecksum), profile: try ChunkHash(unhex(profile)))
    }
  }

  func value() throws -> RecordHeader {
    RecordHeader(
      facts: ObjectFacts(
        namespace: try NamespaceName(namespace), generation: generation, key: try objectKey(key),
        parent: try ChunkHash(unhex(parent)), byteCount: byteCount, checksum: Checksum(checksum),
        form: try form?.value(), firstToken: firstToken, tokenCount: tokenCount,
        recomputeMicroseconds: recomputeMicroseconds, storedAtMilliseconds: storedAtMilliseconds,
        ttlMilliseconds: ttlMilliseconds),
      incarnation: incarnation, sequence: sequence, blockIndex: blockIndex,
      isPaged: payloadOffset == 4096)
  }
}

struct SegmentTrailerFields: Decodable, Sendable {
  let incarnation, nonce: UInt64
  let footerBlock, recordCount: Int
  let firstSequence, lastSequence, footerChecksum: UInt64

  func value() -> SegmentTrailer {
    SegmentTrailer(
      incarnation: incarnation, nonce: nonce, footerBlock: footerBlock, recordCount: recordCount,
      firstSequence: firstSequence, lastSequence: lastSequence,
      footerChecksum: Checksum(footerChecksum))
  }
}

struct JournalFrameFields: Decodable, Sendable {
  struct Entry: Decodable, Sendable {
    let kind, namespace: String
    let number: UInt64
    let names: [String]

    func value() throws -> JournalEntry {
      guard kind != "sequenceReserved" else { return .sequenceReserved(number) }
      let name = try NamespaceName(namespace)
      switch kind {
      case "generation": return .generation(name, number)
      case "purgedKeys":
        return .purgedKeys(name, sequence: number, keys: try names.map(objectKey))
      case "purgedLayouts":
        return .purgedLayouts(name, sequence: number, layouts: try names.map(layoutID))
      case "purgedChunks":
        let hashes = try names.map { try ChunkHash(unhex($0)) }
        return .purgedChunks(name, sequence: number, hashes: hashes)
      case "layout":
        return .layout(name, try Layout(canonicalEncoding: unhex(try #require(names.first))))
      case "pinned":
        let key = try objectKey(try #require(names.first))
        return .pinned(name, key, endMilliseconds: number)
      default: return .unpinned(name, try objectKey(try #require(names.first)))
      }
    }
  }

  let epoch, index: UInt64
  let entries: [Entry]

  func value() throws -> JournalFrame {
    JournalFrame(epoch: epoch, index: index, entries: try entries.map { try $0.value() })
  }
}

struct CheckpointFields: Decodable, Sendable {
  struct Entry: Decodable, Sendable {
    let incarnation: UInt64
    let block: Int
    let uses: UInt32
    let sequence: UInt64
  }

  let directoryID: String
  let entries: [Entry]

  func value() throws -> Checkpoint {
    Checkpoint(
      directoryID: try id(directoryID),
      entries: entries.map {
        CheckpointEntry(
          incarnation: $0.incarnation, block: $0.block, uses: $0.uses, sequence: $0.sequence)
      })
  }
}

func unhex(_ text: String) -> [UInt8] {
  let digits = text.utf8.map { $0 <= UInt8(ascii: "9") ? $0 - 48 : $0 - 87 }
  return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

private func id(_ hex: String) throws -> DirectoryID {
  var reader = ByteReader(unhex(hex))
  return try DirectoryID(from: &reader)
}

private func objectKey(_ hex: String) throws -> ObjectKey {
  var reader = ByteReader(unhex(hex))
  return try ObjectKey(from: &reader)
}

private func layoutID(_ hex: String) throws -> LayoutID {
  var reader = ByteReader(unhex(hex))
  return try LayoutID(from: &reader)
}
