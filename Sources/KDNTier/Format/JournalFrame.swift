package import KDNCore

/// Entries that are written to a journal at once, in whole blocks; all of them count or none.
///
/// Every block after a frame's first begins with a mark of its own. So no bytes that a client
/// chose (hashes of chunks, say) ever stand where a frame may begin, also not in what an earlier
/// and longer use of the journal has left behind.
package struct JournalFrame: Equatable, Sendable {
  /// The epoch of the journal's header.
  package var epoch: UInt64
  /// Number of the frame in its journal, from 0 on.
  package var index: UInt64
  /// What it says.
  package var entries: [JournalEntry]

  /// Longest frame, in bytes.
  package static let byteCountMax = 1 << 20
  /// Most bytes that the entries of one frame may take together.
  package static let entryBytesMax = capacity(blocks: byteCountMax / diskBlockBytes)
  /// Most entries of one frame.
  package static let entryCountMax = Int(UInt16.max)
  private static let tag = FormatTag("KDNE")
  private static let continuation = FormatTag("KDNF")
  private static let headerBytes = 32
  /// Where a frame's epoch stands, in bytes from its start.
  package static let epochOffset = 16
  /// Where a frame's index stands, in bytes from its start.
  package static let indexOffset = 24
  private static let continuationBytes = 8

  /// Puts the facts together.
  package init(epoch: UInt64, index: UInt64, entries: [JournalEntry]) {
    self.epoch = epoch
    self.index = index
    self.entries = entries
  }

  /// Blocks that a frame of `entries` takes.
  package static func blocks(for entries: [JournalEntry]) -> Int {
    blocks(entryBytes: entries.reduce(0) { $0 + $1.encodedBytes })
  }

  /// Blocks that a frame takes whose entries have `entryBytes` together.
  package static func blocks(entryBytes: Int) -> Int {
    let perBlock = diskBlockBytes - continuationBytes
    return max(1, (entryBytes - capacity(blocks: 1) + perBlock - 1) / perBlock + 1)
  }

  /// Bytes of entries that fit into a frame of `blocks` blocks.
  private static func capacity(blocks: Int) -> Int {
    blocks * diskBlockBytes - headerBytes - (blocks - 1) * continuationBytes
      - SealedBlock.checksumBytes
  }

  /// Fills `buffer`, which must have as many blocks as `blocks(for:)` says; traps if the entries
  /// are more than `entryCountMax` or take more than `entryBytesMax`.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    var body = ByteWriter(capacity: buffer.count)
    for entry in entries { entry.write(to: &body) }
    let blocks = Self.blocks(entryBytes: body.count)
    precondition(buffer.count == blocks * diskBlockBytes, "the frame takes other many blocks")
    precondition(
      buffer.count <= Self.byteCountMax && entries.count <= Self.entryCountMax,
      "too many entries for one frame")
    let bytes = body.bytes
    var writer = ByteWriter(capacity: buffer.count)
    Self.tag.write(to: &writer)
    writer.put(UInt16(entries.count))
    writer.put(UInt32(blocks))
    writer.put(UInt32(bytes.count))
    writer.put(epoch)
    writer.put(index)
    var written = min(bytes.count, diskBlockBytes - Self.headerBytes)
    writer.put(contentsOf: bytes[..<written])
    for block in 1..<max(1, blocks) {
      writer.putZeros(block * diskBlockBytes - writer.count)
      writer.put(Self.continuation.number)
      writer.put(UInt32(block))
      let next = min(bytes.count, written + diskBlockBytes - Self.continuationBytes)
      writer.put(contentsOf: bytes[written..<next])
      written = next
    }
    unsafe SealedBlock.write(writer, to: buffer)
  }

  /// Reads the frame at the start of `bytes`, the rest of the journal's file, and tells how many
  /// bytes it takes; it must be of this epoch and have this index.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `blocks`, `checksum`, `epoch`,
  ///   `index`, `entryCount`, `byteCount`, `continuation`, or the field of an entry.
  @unsafe package static func read(
    _ bytes: UnsafeRawBufferPointer, epoch: UInt64, index: UInt64
  ) throws(FieldFault) -> (frame: JournalFrame, byteCount: Int) {
    guard bytes.count >= diskBlockBytes else {
      throw FieldFault("length", value: bytes.count, limit: diskBlockBytes, "the journal is full")
    }
    unsafe try tag.check(bytes)
    let blocks = Int(
      unsafe UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
    let blocksMax = min(bytes.count, byteCountMax) / diskBlockBytes
    guard (1...blocksMax).contains(blocks) else {
      throw FieldFault("blocks", value: blocks, limit: blocksMax, "no such length of a frame")
    }
    let byteCount = blocks * diskBlockBytes
    let whole = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<byteCount])
    unsafe try SealedBlock.checkSeal(whole)
    let frame = unsafe try decode(Array(whole), blocks: blocks, epoch: epoch, index: index)
    return (frame, byteCount)
  }

  private static func decode(
    _ bytes: [UInt8], blocks: Int, epoch: UInt64, index: UInt64
  ) throws(FieldFault) -> JournalFrame {
    var header = ByteReader(bytes, in: FormatTag.byteCount..<headerBytes)
    let entryCount = Int(try header.take("entryCount", as: UInt16.self))
    _ = try header.takeBytes("blocks", count: 4)
    let entryBytes = Int(try header.take("byteCount", as: UInt32.self))
    try expect(epoch, header.take("epoch"), "epoch")
    try expect(index, header.take("index"), "index")
    guard entryBytes <= capacity(blocks: blocks), Self.blocks(entryBytes: entryBytes) == blocks
    else {
      throw FieldFault(
        "byteCount", value: entryBytes, limit: capacity(blocks: blocks), "does not fit the blocks")
    }
    let body = try join(bytes, blocks: blocks)
    var reader = ByteReader(body, in: 0..<entryBytes)
    var entries: [JournalEntry] = []
    for _ in 0..<entryCount { entries.append(try JournalEntry(from: &reader)) }
    try reader.finish("byteCount")
    var padding = ByteReader(body, in: entryBytes..<body.count)
    try padding.takeReserved(count: padding.remaining)
    return JournalFrame(epoch: epoch, index: index, entries: entries)
  }

  /// The parts of all blocks, without headers, marks and checksum.
  private static func join(_ bytes: [UInt8], blocks: Int) throws(FieldFault) -> [UInt8] {
    let end = bytes.count - SealedBlock.checksumBytes
    var body = Array(bytes[headerBytes..<min(end, diskBlockBytes)])
    for block in 1..<max(1, blocks) {
      let start = block * diskBlockBytes
      var mark = ByteReader(bytes, in: start..<start + continuationBytes)
      try expect(UInt64(continuation.number), UInt64(mark.take() as UInt32), "continuation")
      try expect(UInt64(block), UInt64(mark.take() as UInt32), "continuation")
      body += bytes[start + continuationBytes..<min(end, start + diskBlockBytes)]
    }
    return body
  }

  private static func expect(
    _ wanted: UInt64, _ found: UInt64, _ field: String
  ) throws(FieldFault) {
    guard found == wanted else {
      throw FieldFault(field, value: found, limit: wanted, "not the one expected")
    }
  }
}

extension ByteReader {
  fileprivate mutating func take() throws(FieldFault) -> UInt32 { try take("continuation") }
}
