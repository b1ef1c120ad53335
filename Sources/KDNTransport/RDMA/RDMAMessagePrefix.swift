package import KDNCore

/// What stands before the bytes of the stream in each message.
package struct RDMAMessagePrefix: Hashable, Sendable {
  /// Bytes of the encoded prefix.
  package static let byteCount = 8

  /// How many more messages the receiver of this one may send.
  package let creditsReturned: UInt32
  /// Bytes of the stream that follow; 0 in a message that only returns credits.
  package let streamBytes: Int

  /// Creates a prefix.
  package init(creditsReturned: UInt32, streamBytes: Int) {
    precondition(streamBytes >= 0, "a message has no negative length")
    self.creditsReturned = creditsReturned
    self.streamBytes = streamBytes
  }

  /// Decodes the prefix of a message of `messageBytes` bytes that begins with `bytes`.
  ///
  /// - Throws: a fault if the message is cut, or its length is not what the prefix says, or it
  ///   neither carries nor returns anything.
  package init(decoding bytes: RawSpan, messageBytes: Int) throws(FieldFault) {
    guard messageBytes >= Self.byteCount, bytes.byteCount >= Self.byteCount else {
      throw FieldFault("message", value: messageBytes, limit: Self.byteCount, "no prefix")
    }
    // Safe because: both words lie within the bytes that were just counted.
    let credits = unsafe UInt32(
      littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt32.self))
    let length = unsafe UInt32(
      littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 4, as: UInt32.self))
    guard Int(length) == messageBytes - Self.byteCount else {
      throw FieldFault(
        "streamBytes", value: Int(length), limit: messageBytes - Self.byteCount,
        "not the message's length")
    }
    guard length > 0 || credits > 0 else {
      throw FieldFault("creditsReturned", value: 0, limit: 1, "an empty message")
    }
    creditsReturned = credits
    streamBytes = Int(length)
  }

  /// The prefix as the eight bytes of an integer, in the order of memory.
  package var encoded: UInt64 {
    (UInt64(creditsReturned) | UInt64(streamBytes) << 32).littleEndian
  }
}
