package import KDNCore

/// What a directory is: the first thing read, and the only file that a daemon of any version can
/// tell the version of.
package struct Superblock: Equatable, Sendable {
  /// The form of all files in the directory.
  package var formatVersion: UInt16
  /// The directory's name in all its files.
  package var directoryID: DirectoryID
  /// Length of every segment, whole blocks.
  package var segmentBytes: Int
  /// Length of each of the two journals, whole blocks.
  package var journalBytes: Int
  /// When the directory was made, in milliseconds since 1970 by the wall clock.
  package var createdAtMilliseconds: UInt64

  /// Length in bytes.
  package static let byteCount = diskBlockBytes
  /// The newest form that this code reads, and the one that it writes.
  package static let newestVersion: UInt16 = 1
  /// Lengths that a journal may have: a header and a few frames at least.
  package static let journalBytesRange = 4 * diskBlockBytes...1 << 32
  private static let tag = FormatTag(
    "KDND", version: newestVersion, versionField: "formatVersion")

  /// Puts the facts together.
  package init(
    formatVersion: UInt16 = Superblock.newestVersion, directoryID: DirectoryID, segmentBytes: Int,
    journalBytes: Int, createdAtMilliseconds: UInt64
  ) {
    self.formatVersion = formatVersion
    self.directoryID = directoryID
    self.segmentBytes = segmentBytes
    self.journalBytes = journalBytes
    self.createdAtMilliseconds = createdAtMilliseconds
  }

  /// Fills `buffer`, which must have `byteCount` bytes.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    precondition(buffer.count == Self.byteCount, "a superblock is one block")
    precondition(formatVersion == Self.newestVersion, "only the newest form is written")
    var writer = ByteWriter(capacity: 64)
    Self.tag.write(to: &writer)
    writer.putZeros(2)
    directoryID.write(to: &writer)
    writer.put(UInt64(segmentBytes))
    writer.put(UInt64(journalBytes))
    writer.put(createdAtMilliseconds)
    unsafe SealedBlock.write(writer, to: buffer)
  }

  /// Reads one block.
  ///
  /// The version is looked at before the checksum, whose place and meaning another version may
  /// have changed.
  ///
  /// - Throws: a fault that names `length`, `magic`, `formatVersion` (value: the version found,
  ///   limit: the one supported), `checksum`, `segmentBytes`, `journalBytes` or `reserved`.
  @unsafe package init(reading buffer: UnsafeRawBufferPointer) throws(FieldFault) {
    var reader = unsafe try SealedBlock.open(buffer, Self.tag, byteCount: Self.byteCount)
    formatVersion = Self.newestVersion
    try reader.takeReserved(count: 2)
    directoryID = try DirectoryID(from: &reader)
    segmentBytes = try reader.takeBlocks("segmentBytes", in: SegmentHeader.segmentBytesRange)
    journalBytes = try reader.takeBlocks("journalBytes", in: Self.journalBytesRange)
    createdAtMilliseconds = try reader.take("createdAtMilliseconds")
    try reader.takeReserved(count: reader.remaining)
  }
}
