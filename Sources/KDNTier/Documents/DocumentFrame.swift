package import KDNCore

/// The first block of the file of documents.
package struct DocumentFileHeader: Equatable, Sendable {
  /// Number that all frames of the file carry; drawn anew for each file, so that no bytes that a
  /// client chose can be taken for a frame.
  package var nonce: UInt64
  /// Number of the batch whose outcome the first frames hold; the frames behind them hold one
  /// batch each, numbered on from there by the frames themselves.
  package var batch: UInt64
  /// How many frames hold the state that the file began with.
  package var stateFrames: Int

  /// Length in bytes.
  package static let byteCount = diskBlockBytes
  private static let tag = FormatTag("KDNB")

  /// Puts the facts together.
  package init(nonce: UInt64, batch: UInt64, stateFrames: Int) {
    self.nonce = nonce
    self.batch = batch
    self.stateFrames = stateFrames
  }

  /// Fills `buffer`, which must have `byteCount` bytes.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    precondition(buffer.count == Self.byteCount, "the header is one block")
    var writer = ByteWriter(capacity: 32)
    Self.tag.write(to: &writer)
    writer.putZeros(2)
    writer.put(nonce)
    writer.put(batch)
    writer.put(UInt64(stateFrames))
    unsafe SealedBlock.write(writer, to: buffer)
  }

  /// Reads one block.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `checksum`, `stateFrames` or
  ///   `reserved`.
  @unsafe package init(reading buffer: UnsafeRawBufferPointer) throws(FieldFault) {
    var reader = unsafe try SealedBlock.open(buffer, Self.tag, byteCount: Self.byteCount)
    try reader.takeReserved(count: 2)
    nonce = try reader.take("nonce")
    batch = try reader.take("batch")
    stateFrames = try reader.takeCount("stateFrames", in: 0...1 << 24)
    try reader.takeReserved(count: reader.remaining)
  }
}

/// Changes of documents that are written at once, in whole blocks; all of them count or none.
package struct DocumentFrame: Equatable, Sendable {
  /// The nonce of the file's header.
  package var nonce: UInt64
  /// Number of the batch that it ends; of the frames that a file began with the header's number.
  package var batch: UInt64
  /// What it says.
  package var changes: [DocumentChange]

  /// Longest frame, in bytes: a document of the most chunks fits.
  package static let byteCountMax = 4 << 20
  /// Most bytes that the changes of one frame may take together.
  package static let changeBytesMax = byteCountMax - headerBytes - SealedBlock.checksumBytes
  /// Where a frame's nonce stands, in bytes from its start.
  static let nonceOffset = 16
  private static let tag = FormatTag("KDNA")
  private static let headerBytes = 32

  /// Puts the facts together.
  package init(nonce: UInt64, batch: UInt64, changes: [DocumentChange]) {
    self.nonce = nonce
    self.batch = batch
    self.changes = changes
  }

  /// Bytes that a frame takes whose changes have `changeBytes` together.
  package static func byteCount(changeBytes: Int) -> Int {
    let bytes = headerBytes + changeBytes + SealedBlock.checksumBytes
    return (bytes + diskBlockBytes - 1) / diskBlockBytes * diskBlockBytes
  }

  /// Fills `buffer`, which must have as many bytes as `byteCount(changeBytes:)` says.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    var body = ByteWriter(capacity: buffer.count)
    for change in changes { change.write(to: &body) }
    precondition(
      buffer.count == Self.byteCount(changeBytes: body.count) && buffer.count <= Self.byteCountMax,
      "the frame takes other many blocks")
    var writer = ByteWriter(capacity: buffer.count)
    Self.tag.write(to: &writer)
    writer.putZeros(2)
    writer.put(UInt32(buffer.count / diskBlockBytes))
    writer.put(UInt32(body.count))
    writer.put(nonce)
    writer.put(batch)
    writer.put(contentsOf: body.bytes)
    unsafe SealedBlock.write(writer, to: buffer)
  }

  /// Reads the frame at the start of `bytes`, the rest of the file, and tells how many bytes it
  /// takes; it must have this nonce, and a batch that is not below `batch`.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `blocks`, `checksum`, `nonce`,
  ///   `batch`, `byteCount`, `reserved` or the field of a change.
  @unsafe package static func read(
    _ bytes: UnsafeRawBufferPointer, nonce: UInt64, from batch: UInt64
  ) throws(FieldFault) -> (frame: DocumentFrame, byteCount: Int) {
    guard bytes.count >= diskBlockBytes else {
      throw FieldFault("length", value: bytes.count, limit: diskBlockBytes, "the file is full")
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
    let frame = unsafe try decode(Array(whole), nonce: nonce, from: batch)
    return (frame, byteCount)
  }

  private static func decode(
    _ bytes: [UInt8], nonce: UInt64, from batch: UInt64
  ) throws(FieldFault) -> DocumentFrame {
    var reader = ByteReader(
      bytes, in: FormatTag.byteCount..<bytes.count - SealedBlock.checksumBytes)
    try reader.takeReserved(count: 2)
    _ = try reader.takeBytes("blocks", count: 4)
    let changeBytes = Int(try reader.take("byteCount", as: UInt32.self))
    let foundNonce: UInt64 = try reader.take("nonce")
    guard foundNonce == nonce else {
      throw FieldFault("nonce", value: foundNonce, limit: nonce, "of another file")
    }
    let foundBatch: UInt64 = try reader.take("batch")
    guard foundBatch >= batch else {
      throw FieldFault("batch", value: foundBatch, limit: batch, "of an earlier batch")
    }
    guard changeBytes <= reader.remaining, byteCount(changeBytes: changeBytes) == bytes.count
    else {
      throw FieldFault(
        "byteCount", value: changeBytes, limit: reader.remaining, "does not fit the blocks")
    }
    var body = ByteReader(bytes, in: headerBytes..<headerBytes + changeBytes)
    var changes: [DocumentChange] = []
    while body.remaining > 0 { changes.append(try DocumentChange(from: &body)) }
    _ = try reader.takeBytes("byteCount", count: changeBytes)
    try reader.takeReserved(count: reader.remaining)
    return DocumentFrame(nonce: foundNonce, batch: foundBatch, changes: changes)
  }
}
