internal import KDNCore
internal import KDNWire

/// Knows where each byte of a GET's payload belongs, and what became of each item.
// Safe because: it writes nothing itself, and lends only places inside the buffers it was given.
@safe struct PayloadSink: ~Copyable {
  private let items: [GetRequest.Item]
  private let buffers: [UnsafeMutableRawBufferPointer]
  private let codecs: CodecSet
  private let verifies: Bool
  private var descriptors: [GetDescriptor] = []
  /// What became of the items before the present one.
  private(set) var results: [GetResult] = []
  /// How many bytes of the present item have come.
  private var offset = 0
  /// Where bytes without room go; made when the first come.
  private var discard = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)

  /// Bytes that are dropped at most at once.
  private static let discardBytes = 64 << 10

  /// Expects the answer to `items`, raw or in one of `codecs`; each has a buffer, which must stay
  /// valid as long as the sink.
  init(
    _ items: [GetRequest.Item], into buffers: [UnsafeMutableRawBufferPointer],
    accepting codecs: CodecSet = .raw, verifies: Bool
  ) {
    self.items = items
    self.codecs = codecs
    unsafe self.buffers = buffers
    self.verifies = verifies
    results.reserveCapacity(items.count)
  }

  deinit { unsafe discard.deallocate() }

  /// Whether the descriptors have not come.
  var isWaiting: Bool { descriptors.isEmpty }
  /// Bytes of control in front of the payload, if all goes well.
  var expectedControlBytes: Int {
    isWaiting
      ? FrameHeader.byteCount + 8 + items.count * GetDescriptor.byteCount
      : FrameHeader.byteCount
  }

  /// Bytes of the present item that have come, and of how many; nil when no more are expected.
  var progress: (done: Int, total: Int)? {
    guard !isWaiting, results.count < items.count else { return nil }
    return (offset, descriptors[results.count].sentBytes)
  }

  /// Takes the descriptors, and passes the items in front that have no bytes.
  mutating func begin(_ descriptors: [GetDescriptor], _ checksum: inout StreamingChecksum) {
    precondition(isWaiting && descriptors.count == items.count, "one descriptor per item, once")
    self.descriptors = descriptors
    checksum.reset()
    passFinished(&checksum)
  }

  /// Where the next bytes belong, at most `limit` of them; empty when none are expected.
  ///
  /// Before the descriptors have come it is where they belong if the first item is a hit.
  mutating func place(limit: Int) -> UnsafeMutableRawBufferPointer {
    let index = results.count
    guard !isWaiting else { return unsafe slice(buffers[0], limit) }
    guard index < items.count else {
      return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }
    let bounded = min(limit, descriptors[index].sentBytes - offset)
    guard hasRoom(index) else { return unsafe slice(discarding(), bounded) }
    return unsafe slice(UnsafeMutableRawBufferPointer(rebasing: buffers[index][offset...]), bounded)
  }

  /// How many of `count` bytes that came before the descriptors lie where they belong.
  func accepted(guessed count: Int, payloadLength: Int) -> Int {
    guard results.isEmpty, hasRoom(0) else { return 0 }
    return min(count, payloadLength, descriptors[0].sentBytes)
  }

  /// The first `count` bytes of the last place have come.
  mutating func arrived(_ count: Int, _ checksum: inout StreamingChecksum) {
    guard count > 0 else { return }
    let index = results.count
    if verifies, hasRoom(index) {
      unsafe checksum.update(
        UnsafeRawBufferPointer(rebasing: buffers[index][offset..<offset + count]))
    }
    offset += count
    passFinished(&checksum)
  }

  private mutating func passFinished(_ checksum: inout StreamingChecksum) {
    while results.count < descriptors.count, offset == descriptors[results.count].sentBytes {
      results.append(result(of: results.count, checksum))
      if verifies, offset > 0 { checksum.reset() }
      offset = 0
    }
  }

  private func result(of index: Int, _ checksum: borrowing StreamingChecksum) -> GetResult {
    let descriptor = descriptors[index]
    if let miss = descriptor.miss { return .miss(miss) }
    guard hasRoom(index) else { return .noRoom(bytes: descriptor.sentBytes) }
    guard descriptor.answers(items[index].selection, accepting: codecs, verifies: verifies) else {
      return .miss(.corrupt)
    }
    guard !verifies || checksum.digest() == descriptor.sentChecksum else { return .miss(.corrupt) }
    return GetResult(hit: descriptor)
  }

  private func hasRoom(_ index: Int) -> Bool {
    unsafe descriptors[index].sentBytes <= buffers[index].count
  }

  private mutating func discarding() -> UnsafeMutableRawBufferPointer {
    if unsafe discard.isEmpty {
      unsafe discard = .allocate(byteCount: Self.discardBytes, alignment: 64)
    }
    return unsafe discard
  }

  private func slice(
    _ buffer: UnsafeMutableRawBufferPointer, _ limit: Int
  ) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(limit, buffer.count)])
  }
}
