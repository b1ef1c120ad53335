internal import DequeModule

/// Messages that came and wait to be read; bounded by the credits of the other side.
struct RDMAInbox {
  private var messages: Deque<[UInt8]> = []
  /// Bytes of the first message that have been read.
  private var readBytes = 0
  /// Bytes that can be read.
  private(set) var byteCount = 0

  /// Adds the bytes of the stream that a message carried; never none.
  mutating func append(_ bytes: [UInt8]) {
    messages.append(bytes)
    byteCount += bytes.count
  }

  /// Moves up to `target.count` bytes; says how many, and how many messages are thereby consumed.
  @unsafe mutating func read(
    into target: UnsafeMutableRawBufferPointer
  ) -> (bytes: Int, messages: Int) {
    var filled = 0
    var consumed = 0
    while filled < target.count, let first = messages.first {
      let count = min(target.count - filled, first.count - readBytes)
      // Safe because: both ranges have `count` bytes within their bounds.
      unsafe first.withUnsafeBytes { bytes in
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[filled..<filled + count])
          .copyMemory(
            from: UnsafeRawBufferPointer(rebasing: bytes[readBytes..<readBytes + count]))
      }
      filled += count
      readBytes += count
      guard readBytes == first.count else { continue }
      messages.removeFirst()
      readBytes = 0
      consumed += 1
    }
    byteCount -= filled
    return (filled, consumed)
  }
}
