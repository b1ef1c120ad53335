import KDNCore

@testable import KDNTier

/// A directory in memory whose files can be damaged.
// Safe because: each test has its own and uses it from one thread.
final class MemoryDirectory: BlockDirectory, @unchecked Sendable {
  let path = "memory"
  var files: [String: MemoryFile] = [:]

  subscript(name: String) -> MemoryFile {
    guard let file = files[name] else { fatalError("\(name) is not there") }
    return file
  }

  func list() -> [(name: String, byteCount: Int)] {
    files.map { ($0.key, $0.value.byteCount) }
  }

  func open(_ name: String) throws(DiskError) -> any BlockFile {
    guard let file = files[name] else { throw DiskError(call: "open", file: name, code: 2) }
    return file
  }

  @discardableResult
  func create(_ name: String, byteCount: Int) -> any BlockFile {
    let file = MemoryFile(name, [UInt8](repeating: 0, count: byteCount))
    files[name] = file
    return file
  }

  func remove(_ name: String) { files[name] = nil }

  func rename(_ name: String, to other: String) {
    files[other] = files.removeValue(forKey: name)
  }
}

/// A file in memory; some of its blocks may be unreadable.
// Safe because: see MemoryDirectory.
final class MemoryFile: BlockFile, @unchecked Sendable {
  let name: String
  var bytes: [UInt8]
  var badBlocks: Set<Int> = []
  var refusesWrites = false
  /// Writes that are not yet synchronised.
  private(set) var unsynchronisedWrites = 0
  let descriptor: Int32 = -1

  init(_ name: String, _ bytes: [UInt8]) {
    self.name = name
    self.bytes = bytes
  }

  var byteCount: Int { bytes.count }

  func read(at offset: Int, into pieces: [BlockSpan]) throws(DiskError) {
    var start = offset
    for piece in pieces {
      let end = start + piece.byteCount
      guard end <= bytes.count else { throw DiskError(call: "pread", file: name, code: 0) }
      guard badBlocks.isDisjoint(with: start / 4096..<end / 4096) else {
        throw DiskError(call: "pread", file: name, code: 5)
      }
      UnsafeMutableRawBufferPointer(start: piece.base, count: piece.byteCount)
        .copyBytes(from: bytes[start..<end])
      start = end
    }
  }

  func write(at offset: Int, from pieces: [BlockSpan]) throws(DiskError) {
    guard !refusesWrites else { throw DiskError(call: "pwrite", file: name, code: 5) }
    var start = offset
    for piece in pieces {
      let end = start + piece.byteCount
      guard end <= bytes.count else { throw DiskError(call: "pwrite", file: name, code: 28) }
      bytes.replaceSubrange(
        start..<end, with: UnsafeRawBufferPointer(start: piece.base, count: piece.byteCount))
      start = end
    }
    unsynchronisedWrites += 1
  }

  func synchronise() { unsynchronisedWrites = 0 }

  func put(_ part: [UInt8], at offset: Int) {
    bytes.replaceSubrange(offset..<offset + part.count, with: part)
  }

  func flip(_ offset: Int) { bytes[offset] ^= 1 }
}

extension Set where Element == Int {
  fileprivate func isDisjoint(with range: Range<Int>) -> Bool { !contains(where: range.contains) }
}

/// Makes directories of the log as the format says, without a tier.
struct LogBuilder {
  static let segmentBlocks = 64
  static let segmentBytes = segmentBlocks * diskBlockBytes
  static let journalBytes = 16 * diskBlockBytes
  static let now: UInt64 = 1_790_000_000_000

  let storage = MemoryDirectory()
  let id = DirectoryID.random()
  private var nextSequence: UInt64 = 1
  private var nextIncarnation: UInt64 = 1
  private var nextFile = 1
  private var frames = 0
  private var journalBlock = 1

  /// A new directory: a superblock, and one journal begun.
  init() {
    let superblock = Superblock(
      directoryID: id, segmentBytes: Self.segmentBytes, journalBytes: Self.journalBytes,
      createdAtMilliseconds: Self.now)
    let header = JournalHeader(epoch: 1, directoryID: id)
    storage.create("superblock", byteCount: 4096)
    storage["superblock"].put(written(4096) { superblock.write(to: $0) }, at: 0)
    storage.create("journal-0", byteCount: Self.journalBytes)
    storage["journal-0"].put(written(4096) { header.write(to: $0) }, at: 0)
    storage.create("journal-1", byteCount: Self.journalBytes)
  }

  /// Writes a frame to the first journal.
  mutating func remember(_ entries: [JournalEntry]) {
    let blocks = JournalFrame(epoch: 1, index: UInt64(frames), entries: entries).blocks
    storage["journal-0"].put(blocks, at: journalBlock * 4096)
    frames += 1
    journalBlock += blocks.count / 4096
  }

  /// The facts and bytes of an opaque object.
  static func object(
    _ name: String, in namespace: String = "tenant", generation: UInt64 = 0, byteCount: Int = 5000,
    ttl: UInt64 = 0
  ) throws -> (facts: ObjectFacts, bytes: [UInt8]) {
    var source = SeededSource(UInt64(name.utf8.reduce(7) { $0 * 31 + Int($1) }))
    let bytes = (0..<byteCount).map { _ in UInt8.random(in: 0...255, using: &source) }
    let facts = ObjectFacts(
      namespace: try NamespaceName(namespace), generation: generation,
      key: ObjectKey(opaque: HashChain.opaque(Array(name.utf8))), byteCount: byteCount,
      checksum: Checksum(of: bytes), storedAtMilliseconds: now - 1000, ttlMilliseconds: ttl)
    return (facts, bytes)
  }

  /// Writes a segment, with footer and trailer if it is to be sealed.
  @discardableResult
  mutating func segment(
    _ objects: [(facts: ObjectFacts, bytes: [UInt8])], sealed: Bool = true, isPaged: Bool = false
  ) -> (name: String, records: [RecordHeader]) {
    let name = DirectoryLayout.segmentName(nextFile)
    nextFile += 1
    let header = SegmentHeader(
      incarnation: nextIncarnation, nonce: 0xABCD_0000 + nextIncarnation,
      segmentBytes: Self.segmentBytes, directoryID: id, openedAtMilliseconds: Self.now)
    nextIncarnation += 1
    storage.create(name, byteCount: Self.segmentBytes)
    let file = storage[name]
    file.put(written(4096) { header.write(to: $0) }, at: 0)
    var block = 1
    var records: [RecordHeader] = []
    for (facts, bytes) in objects {
      let record = RecordHeader(
        facts: facts, incarnation: header.incarnation, sequence: nextSequence, blockIndex: block,
        isPaged: isPaged)
      nextSequence += 1
      file.put(written(512) { record.write(to: $0, nonce: header.nonce) }, at: block * 4096)
      file.put(bytes, at: block * 4096 + record.payloadOffset)
      block = record.blocks.upperBound
      records.append(record)
    }
    if sealed { seal(file, header, records) }
    return (name, records)
  }

  private func seal(_ file: MemoryFile, _ header: SegmentHeader, _ records: [RecordHeader]) {
    let lines = records.flatMap { record in
      written(512) { record.write(to: $0, nonce: header.nonce) }
    }
    let block = Self.segmentBlocks - 1 - SegmentTrailer.footerBlocks(records: records.count)
    let trailer = SegmentTrailer(
      incarnation: header.incarnation, nonce: header.nonce, footerBlock: block,
      recordCount: records.count, firstSequence: records.first?.sequence ?? 0,
      lastSequence: records.last?.sequence ?? 0, footerChecksum: Checksum(of: lines))
    file.put(lines, at: block * 4096)
    file.put(written(4096) { trailer.write(to: $0) }, at: file.byteCount - 4096)
  }

  /// Checks the directory.
  func check(readsPayloads: Bool = true) throws -> CheckReport {
    try LogCheck.report(
      on: storage, readsPayloads: readsPayloads, nowMilliseconds: Self.now)
  }
}
