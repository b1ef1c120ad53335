internal import KDNCore
internal import KDNMemory

/// Reads records whole, a piece at a time.
struct RecordReader {
  private let file: any BlockFile
  private static let pieceBytes = 1 << 20

  init(_ file: any BlockFile) { self.file = file }

  /// What is wrong with the record that `expected` names; nil if header and bytes are right.
  func problem(of expected: RecordHeader, nonce: UInt64) throws(DiskError) -> CheckProblem? {
    let piece = PageBuffer(byteCount: min(Self.pieceBytes, expected.recordBytes))
    let payload = expected.payloadOffset..<expected.payloadOffset + expected.storedBytes
    var checksum = StreamingChecksum()
    var position = 0
    while position < payload.upperBound {
      let count = min(piece.byteCount, expected.recordBytes - position)
      try unsafe file.read(
        at: expected.blockIndex * diskBlockBytes + position,
        into: [BlockSpan(base: piece.base, byteCount: count)])
      if position == 0, !isHeader(expected, nonce: nonce, in: piece) { return .headerDiffers }
      let part = payload.clamped(to: position..<position + count)
      unsafe checksum.update(
        UnsafeRawBufferPointer(
          rebasing: piece.bytes[part.lowerBound - position..<part.upperBound - position]))
      position += count
    }
    let found = checksum.digest()
    guard found != expected.facts.storedChecksum else { return nil }
    return .payload(found: found, expected: expected.facts.storedChecksum)
  }

  private func isHeader(
    _ expected: RecordHeader, nonce: UInt64, in piece: PageBuffer
  ) -> Bool {
    let line = unsafe UnsafeRawBufferPointer(rebasing: piece.bytes[..<RecordHeader.byteCount])
    return (try? unsafe RecordHeader(reading: line, nonce: nonce)) == expected
  }
}

/// Blocks of a file in ascending order, read many at a time.
struct BlockWindow {
  private let file: any BlockFile
  private let buffer: PageBuffer
  private var blocks = 0..<0
  private static let windowBytes = 1 << 20

  init(_ file: any BlockFile) {
    self.file = file
    buffer = PageBuffer(byteCount: min(Self.windowBytes, file.byteCount))
  }

  /// The bytes of a block; valid until the next call.
  @unsafe mutating func block(_ number: Int) throws(DiskError) -> UnsafeRawBufferPointer {
    if !blocks.contains(number) {
      let end = min(
        number + buffer.byteCount / diskBlockBytes, file.byteCount / diskBlockBytes)
      let byteCount = (end - number) * diskBlockBytes
      try unsafe file.read(
        at: number * diskBlockBytes,
        into: [BlockSpan(base: buffer.base, byteCount: byteCount)])
      blocks = number..<end
    }
    let start = (number - blocks.lowerBound) * diskBlockBytes
    return unsafe UnsafeRawBufferPointer(rebasing: buffer.bytes[start..<start + diskBlockBytes])
  }
}
