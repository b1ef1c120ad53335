package import KDNCore

/// Finds frames in a stream of bytes that arrives in any pieces; payload goes past it.
///
/// Append what the link read, take frames until `nextFrame` gives nil, and only then append again:
/// the buffer then never holds more than one incomplete header and body and one read. When a frame
/// has payload, `nextFrame` gives nil until all of it is accounted for: first what was read along
/// with the header (`takeBufferedPayload`, `skipBufferedPayload`), then what the link reads
/// straight to its place (`payloadArrived`).
package struct FrameDecoder {
  /// Longest body that is accepted, in bytes.
  package var maxBodyBytes: Int
  /// Most payload bytes of one frame.
  package var maxFramePayloadBytes: Int
  /// Bytes of the present frame's payload that are not yet accounted for.
  package private(set) var payloadRemaining = 0
  /// Whether the present frame's body is the one announced; an empty body has checksum 0.
  package private(set) var bodyIsIntact = true

  private var buffer: [UInt8] = []
  /// Where the bytes that no frame has taken begin.
  private var start = 0
  private var bodyRange = 0..<0
  /// The header whose body is not complete.
  private var pending: FrameHeader?

  /// Memory that is kept between frames, in bytes; more is given back once it is empty.
  private static let keptBytesMax = 64 << 10

  /// Creates a decoder at the beginning of a stream.
  package init(
    maxBodyBytes: Int = Limits.handshakeBodyBytesMax,
    maxFramePayloadBytes: Int = Limits().maxFramePayloadBytes
  ) {
    self.maxBodyBytes = maxBodyBytes
    self.maxFramePayloadBytes = maxFramePayloadBytes
  }

  /// Bytes that were appended and belong to no frame yet, payload included.
  package var bufferedBytes: Int { buffer.count - start }

  /// Bytes of the present frame's payload that lie in the buffer.
  package var bufferedPayloadBytes: Int { min(bufferedBytes, payloadRemaining) }

  /// How many more bytes complete the next header, or the body behind the last one; 0 while payload
  /// is pending or a frame can be taken.
  package var wantedControlBytes: Int {
    guard payloadRemaining == 0 else { return 0 }
    return max(0, (pending?.bodyLength ?? FrameHeader.byteCount) - bufferedBytes)
  }

  /// A reader over the present frame's body; copies of it should be gone before the next change,
  /// or the buffer is copied.
  package var body: ByteReader { ByteReader(buffer, in: bodyRange) }

  /// Adds bytes that arrived: any number of frames, in part or whole, and any payload of the last.
  package mutating func append(_ bytes: Span<UInt8>) {
    compact()
    buffer.append(copying: bytes)
  }

  /// Takes the next frame; nil if bytes are wanted or payload is pending.
  ///
  /// - Throws: a framing fault; after it no further frame can be found in this stream.
  package mutating func nextFrame() throws(FramingFault) -> FrameHeader? {
    guard payloadRemaining == 0 else { return nil }
    bodyRange = start..<start
    if pending == nil {
      guard bufferedBytes >= FrameHeader.byteCount else { return nil }
      var reader = ByteReader(buffer, in: start..<buffer.count)
      pending = try FrameHeader(
        from: &reader, maxBodyBytes: maxBodyBytes, maxFramePayloadBytes: maxFramePayloadBytes)
      start += FrameHeader.byteCount
      bodyRange = start..<start
    }
    guard let header = pending, bufferedBytes >= header.bodyLength else { return nil }
    pending = nil
    bodyRange = start..<start + header.bodyLength
    start = bodyRange.upperBound
    payloadRemaining = header.payloadLength
    bodyIsIntact =
      header.bodyLength == 0
      ? header.bodyChecksum == 0
      : body.checksum(next: header.bodyLength).value == header.bodyChecksum
    return header
  }

  /// Moves payload that lies in the buffer to `span`; returns how many bytes, at most its length.
  package mutating func takeBufferedPayload(into span: inout MutableSpan<UInt8>) -> Int {
    let count = min(bufferedPayloadBytes, span.count)
    buffer.copy(start..<start + count, to: &span)
    account(buffered: count)
    return count
  }

  /// Drops payload that lies in the buffer; returns how many bytes.
  package mutating func skipBufferedPayload() -> Int {
    let count = bufferedPayloadBytes
    account(buffered: count)
    return count
  }

  /// Accounts for payload that did not pass through the buffer; the buffer's part comes first.
  package mutating func payloadArrived(_ count: Int) {
    precondition(bufferedPayloadBytes == 0 || count == 0, "buffered payload comes first")
    precondition(count >= 0 && count <= payloadRemaining, "more payload than announced")
    payloadRemaining -= count
  }

  private mutating func account(buffered count: Int) {
    start += count
    payloadRemaining -= count
  }

  /// Moves what no frame has taken to the front, so that the buffer does not grow with the stream.
  private mutating func compact() {
    bodyRange = 0..<0
    guard start > 0 else { return }
    if start == buffer.count {
      buffer.removeAll(keepingCapacity: buffer.capacity <= Self.keptBytesMax)
    } else {
      buffer.removeSubrange(0..<start)
    }
    start = 0
  }
}
