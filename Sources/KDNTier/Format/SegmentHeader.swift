package import KDNCore

/// The first block of a segment: which life of the file this is, and the secret that its records
/// are known by.
package struct SegmentHeader: Equatable, Sendable {
  /// Number of this life of the file: unique and growing within the directory.
  package var incarnation: UInt64
  /// Random; part of every checksum of a record header, and told to nobody.
  package var nonce: UInt64
  /// Length of the file in bytes, whole blocks.
  package var segmentBytes: Int
  /// The directory it belongs to.
  package var directoryID: DirectoryID
  /// When this life began, in milliseconds since 1970 by the wall clock.
  package var openedAtMilliseconds: UInt64

  /// Length in bytes.
  package static let byteCount = diskBlockBytes
  /// Lengths that a segment may have: header, one record, footer and trailer at least, and at most
  /// what a block number of 32 bits reaches.
  package static let segmentBytesRange = 4 * diskBlockBytes...diskBlockBytes << 32
  private static let tag = FormatTag("KDNS")

  /// Puts the facts together.
  package init(
    incarnation: UInt64, nonce: UInt64, segmentBytes: Int, directoryID: DirectoryID,
    openedAtMilliseconds: UInt64
  ) {
    self.incarnation = incarnation
    self.nonce = nonce
    self.segmentBytes = segmentBytes
    self.directoryID = directoryID
    self.openedAtMilliseconds = openedAtMilliseconds
  }

  /// Fills `buffer`, which must have `byteCount` bytes.
  @unsafe package func write(to buffer: UnsafeMutableRawBufferPointer) {
    precondition(buffer.count == Self.byteCount, "a segment header is one block")
    precondition(Self.segmentBytesRange.contains(segmentBytes), "no such length of a segment")
    var writer = ByteWriter(capacity: 64)
    Self.tag.write(to: &writer)
    writer.putZeros(2)
    writer.put(incarnation)
    writer.put(nonce)
    writer.put(UInt64(segmentBytes))
    directoryID.write(to: &writer)
    writer.put(openedAtMilliseconds)
    unsafe SealedBlock.write(writer, to: buffer)
  }

  /// Reads one block.
  ///
  /// - Throws: a fault that names `length`, `magic`, `version`, `checksum`, `segmentBytes` or
  ///   `reserved`.
  @unsafe package init(reading buffer: UnsafeRawBufferPointer) throws(FieldFault) {
    var reader = unsafe try SealedBlock.open(buffer, Self.tag, byteCount: Self.byteCount)
    try reader.takeReserved(count: 2)
    incarnation = try reader.take("incarnation")
    nonce = try reader.take("nonce")
    segmentBytes = try reader.takeBlocks("segmentBytes", in: Self.segmentBytesRange)
    directoryID = try DirectoryID(from: &reader)
    openedAtMilliseconds = try reader.take("openedAtMilliseconds")
    try reader.takeReserved(count: reader.remaining)
  }
}
