package import KDNCore

/// How often a record was used.
package struct CheckpointEntry: Equatable, Sendable {
  /// The life of the segment that the record lies in.
  package var incarnation: UInt64
  /// Where the record starts, in blocks from the start of the segment.
  package var block: Int
  /// Uses so far.
  package var uses: UInt32
  /// The record's sequence number.
  package var sequence: UInt64

  /// Length in bytes.
  package static let byteCount = 24

  /// Puts the facts together.
  package init(incarnation: UInt64, block: Int, uses: UInt32, sequence: UInt64) {
    self.incarnation = incarnation
    self.block = block
    self.uses = uses
    self.sequence = sequence
  }
}

/// How often things were used, as a clean stop leaves it for the next start.
///
/// Everything else is found without it.
package struct Checkpoint: Equatable, Sendable {
  /// The directory it belongs to.
  package var directoryID: DirectoryID
  /// One per record that was live.
  package var entries: [CheckpointEntry]

  /// Most entries of a checkpoint.
  package static let entryCountMax = 1 << 28
  private static let tag = FormatTag("KDNC")

  /// Puts the facts together.
  package init(directoryID: DirectoryID, entries: [CheckpointEntry]) {
    self.directoryID = directoryID
    self.entries = entries
  }

  /// Bytes of a checkpoint with `entries` entries, whole blocks.
  package static func byteCount(entries: Int) -> Int {
    let content = entries * CheckpointEntry.byteCount
    return diskBlockBytes
      + (content + diskBlockBytes - 1) / diskBlockBytes * diskBlockBytes
  }

  /// Fills `buffer`, which must have `byteCount(entries:)` bytes.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    precondition(
      entries.count <= Self.entryCountMax
        && buffer.count == Self.byteCount(entries: entries.count),
      "the checkpoint takes other many blocks")
    var offset = diskBlockBytes
    for entry in entries {
      unsafe Self.put(entry, to: buffer, at: offset)
      offset += CheckpointEntry.byteCount
    }
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[offset...])
      .initializeMemory(as: UInt8.self, repeating: 0)
    let content = unsafe UnsafeRawBufferPointer(rebasing: buffer[diskBlockBytes...])
    var writer = ByteWriter(capacity: 64)
    Self.tag.write(to: &writer)
    writer.putZeros(2)
    directoryID.write(to: &writer)
    writer.put(UInt64(entries.count))
    writer.put(unsafe Checksum(of: content).value)
    let header = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<diskBlockBytes])
    unsafe SealedBlock.write(writer, to: header)
  }

  /// Reads a whole file, which may be longer than its checkpoint.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `checksum`, `directoryID`,
  ///   `entryCount`, `contentChecksum` or `reserved`.
  @unsafe package init(
    reading buffer: UnsafeRawBufferPointer, directoryID: DirectoryID
  ) throws(FieldFault) {
    guard buffer.count >= diskBlockBytes else {
      throw FieldFault("length", value: buffer.count, limit: diskBlockBytes, "too short")
    }
    let header = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<diskBlockBytes])
    var reader = unsafe try SealedBlock.open(header, Self.tag, byteCount: diskBlockBytes)
    try reader.takeReserved(count: 2)
    self.directoryID = try DirectoryID(from: &reader)
    guard self.directoryID == directoryID else {
      throw FieldFault("directoryID", value: 1, limit: 0, "of another directory")
    }
    let count = try reader.takeCount("entryCount", in: 0...Self.entryCountMax)
    guard Self.byteCount(entries: count) <= buffer.count else {
      throw FieldFault(
        "length", value: buffer.count, limit: Self.byteCount(entries: count), "too short")
    }
    let stored: UInt64 = try reader.take("contentChecksum")
    let content = unsafe UnsafeRawBufferPointer(
      rebasing: buffer[diskBlockBytes..<Self.byteCount(entries: count)])
    let computed = unsafe Checksum(of: content).value
    guard stored == computed else {
      throw FieldFault("contentChecksum", value: stored, limit: computed, "does not match")
    }
    try reader.takeReserved(count: reader.remaining)
    entries = []
    entries.reserveCapacity(count)
    for index in 0..<count {
      entries.append(unsafe Self.take(from: content, at: index * CheckpointEntry.byteCount))
    }
    let rest = unsafe [UInt8](content[(count * CheckpointEntry.byteCount)...])
    for byte in rest where byte != 0 {
      throw FieldFault("reserved", value: UInt64(byte), limit: 0, "reserved bytes must be zero")
    }
  }

  // Millions of entries: they are moved without a writer or reader between.

  @unsafe private static func put(
    _ entry: CheckpointEntry, to buffer: UnsafeMutableRawBufferPointer, at offset: Int
  ) {
    unsafe buffer.storeBytes(
      of: entry.incarnation.littleEndian, toByteOffset: offset, as: UInt64.self)
    unsafe buffer.storeBytes(
      of: UInt32(entry.block).littleEndian, toByteOffset: offset + 8, as: UInt32.self)
    unsafe buffer.storeBytes(
      of: entry.uses.littleEndian, toByteOffset: offset + 12, as: UInt32.self)
    unsafe buffer.storeBytes(
      of: entry.sequence.littleEndian, toByteOffset: offset + 16, as: UInt64.self)
  }

  @unsafe private static func take(
    from content: UnsafeRawBufferPointer, at offset: Int
  ) -> CheckpointEntry {
    let incarnation = unsafe content.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    let block = unsafe content.loadUnaligned(fromByteOffset: offset + 8, as: UInt32.self)
    let uses = unsafe content.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self)
    let sequence = unsafe content.loadUnaligned(fromByteOffset: offset + 16, as: UInt64.self)
    return CheckpointEntry(
      incarnation: UInt64(littleEndian: incarnation), block: Int(UInt32(littleEndian: block)),
      uses: UInt32(littleEndian: uses), sequence: UInt64(littleEndian: sequence))
  }
}
