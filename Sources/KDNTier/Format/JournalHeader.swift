package import KDNCore

/// The first block of a journal; of the two journals the one with the higher epoch counts.
package struct JournalHeader: Equatable, Sendable {
  /// Which journal this is, counted over the directory's life; its frames carry it too.
  package var epoch: UInt64
  /// The directory it belongs to.
  package var directoryID: DirectoryID

  /// Length in bytes.
  package static let byteCount = diskBlockBytes
  private static let tag = FormatTag("KDNJ")

  /// Puts the facts together.
  package init(epoch: UInt64, directoryID: DirectoryID) {
    self.epoch = epoch
    self.directoryID = directoryID
  }

  /// Fills `buffer`, which must have `byteCount` bytes.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    precondition(buffer.count == Self.byteCount, "a journal header is one block")
    var writer = ByteWriter(capacity: 64)
    Self.tag.write(to: &writer)
    writer.putZeros(2)
    writer.put(epoch)
    directoryID.write(to: &writer)
    unsafe SealedBlock.write(writer, to: buffer)
  }

  /// Reads one block.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `checksum` or `reserved`.
  @unsafe package init(reading buffer: UnsafeRawBufferPointer) throws(FieldFault) {
    var reader = unsafe try SealedBlock.open(buffer, Self.tag, byteCount: Self.byteCount)
    try reader.takeReserved(count: 2)
    epoch = try reader.take("epoch")
    directoryID = try DirectoryID(from: &reader)
    try reader.takeReserved(count: reader.remaining)
  }
}
