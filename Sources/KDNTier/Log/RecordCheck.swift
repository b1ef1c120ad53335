internal import KDNCore
internal import KDNMemory

/// Compares what was read with what should be there; every byte counts.
enum RecordCheck {
  /// The facts of the record that `read` asked for, if header and bytes are those that were
  /// stored; otherwise nil.
  ///
  /// Copies the bytes into the room if they were not read in place.
  static func facts(of read: PendingRead, _ buffer: ReadBuffer) -> ObjectFacts? {
    let line = unsafe UnsafeRawBufferPointer(
      rebasing: buffer.buffer.bytes[0..<RecordHeader.byteCount])
    guard
      let header = try? unsafe RecordHeader(reading: line, nonce: read.nonce),
      header.incarnation == read.incarnation, header.facts.key == read.key.key,
      header.storedBytes == read.byteCount, header.facts.storedChecksum == read.checksum,
      header.isPaged == read.isPaged, header.blockIndex == Int(read.place.block)
    else { return nil }
    if !buffer.isInPlace {
      unsafe read.room.base.copyMemory(
        from: buffer.buffer.base + header.payloadOffset, byteCount: read.byteCount)
    }
    let found = unsafe Checksum(
      of: UnsafeRawBufferPointer(start: read.room.base, count: read.byteCount))
    return found == read.checksum ? header.facts : nil
  }

  /// Whether a whole record in memory is the one that `header` names.
  static func isWhole(_ header: RecordHeader, nonce: UInt64, in buffer: PageBuffer) -> Bool {
    let line = unsafe UnsafeRawBufferPointer(rebasing: buffer.bytes[0..<RecordHeader.byteCount])
    guard let found = try? unsafe RecordHeader(reading: line, nonce: nonce), found == header
    else { return false }
    let payload = unsafe UnsafeRawBufferPointer(
      rebasing: buffer.bytes[
        header.payloadOffset..<header.payloadOffset + header.storedBytes])
    return unsafe Checksum(of: payload) == header.facts.storedChecksum
  }
}
