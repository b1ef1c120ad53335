internal import DequeModule
internal import Glibc
internal import KDNMemory

/// Collects pieces for one vectored write.
@unsafe struct Gather {
  private let pieces: UnsafeMutableBufferPointer<iovec>
  private(set) var count = 0
  /// Goes with the first byte of all.
  private(set) var descriptor: Int32?
  private var bytesLeft: Int

  init(pieces: UnsafeMutableBufferPointer<iovec>, bytesLeft: Int) {
    unsafe self.pieces = pieces
    unsafe self.bytesLeft = bytesLeft
  }

  /// True if no further piece fits.
  var isFull: Bool { unsafe count == pieces.count || bytesLeft == 0 }

  /// Takes no further piece: the next one must begin a write of its own.
  mutating func close() { unsafe bytesLeft = 0 }

  /// Lets `number` go with the first byte; nothing may have been added.
  mutating func pass(_ number: Int32) {
    unsafe precondition(count == 0, "a descriptor goes with the first byte of a write")
    unsafe descriptor = number
  }

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    let length = unsafe min(bytes.count, bytesLeft)
    unsafe pieces[count] = iovec(
      iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: length)
    unsafe count += 1
    unsafe bytesLeft -= length
  }
}

/// A descriptor on its way to another process; closed when its message is out or given up.
final class PassedDescriptor {
  let number: Int32

  init(owning number: Int32) { self.number = number }

  deinit { _ = close(number) }
}

/// Something that waits to be sent, or a lease that waits for what stands before it.
@safe enum Outbound: ~Copyable {
  /// Bytes that the queue owns.
  case bytes([UInt8], endsMessage: Bool)
  /// A message that the queue owns, whose first byte carries a descriptor.
  case passing([UInt8], PassedDescriptor)
  /// Bytes in place, kept alive by a later `keep`.
  case borrowed(UnsafeRawBufferPointer, endsMessage: Bool)
  /// Dropped when everything before it has been sent.
  case keep(Lease)
}

/// Messages in the order in which they go out, with leases that end when their bytes are out.
struct OutboundQueue: ~Copyable {
  private var entries = UniqueDeque<Outbound>()
  /// How much of the first entry has been sent.
  private var sentOfFirst = 0
  /// Bytes that wait.
  private(set) var byteCount = 0
  /// Descriptors that wait with their messages.
  private(set) var descriptorCount = 0
  /// True if a message has begun and not ended.
  private(set) var isInsideMessage = false

  mutating func append(_ entry: consuming Outbound) {
    byteCount += Self.length(of: entry)
    entries.append(entry)
  }

  /// Adds a message whose first byte carries `descriptor`.
  mutating func append(_ message: [UInt8], passing descriptor: Int32) {
    descriptorCount += 1
    append(.passing(message, PassedDescriptor(owning: descriptor)))
  }

  /// Adds what waits, front first, to `gather`; stops at the end of the first message if asked.
  ///
  /// The pieces are readable until the queue is next changed: owned arrays are not moved by it.
  @unsafe mutating func gather(into gather: inout Gather, firstMessageOnly: Bool) {
    var index = 0
    while index < entries.count, unsafe !gather.isFull {
      let skip = index == 0 ? sentOfFirst : 0
      let ends = unsafe Self.add(entries[index], skip: skip, to: &gather)
      index += 1
      if ends && firstMessageOnly { return }
    }
  }

  /// Takes up to `sent` bytes off the front, the first message's at most if asked; says how many.
  mutating func consume(_ sent: Int, firstMessageOnly: Bool) -> Int {
    var left = sent
    while left > 0, let length = frontLength {
      let step = min(left, length - sentOfFirst)
      sentOfFirst += step
      left -= step
      isInsideMessage = true
      guard sentOfFirst == length else { break }
      let ended = popFront()
      isInsideMessage = !ended
      if ended && firstMessageOnly { break }
    }
    byteCount -= sent - left
    dropFinished()
    return sent - left
  }

  /// The first message counts as begun, though no byte of it is out.
  mutating func hold() { isInsideMessage = true }

  /// Drops leases whose bytes are all out.
  mutating func dropFinished() {
    while let length = frontLength, length == 0 { _ = popFront() }
  }

  private var frontLength: Int? { entries.isEmpty ? nil : Self.length(of: entries[0]) }

  private mutating func popFront() -> Bool {
    sentOfFirst = 0
    switch entries.removeFirst() {
    case .bytes(_, let ends): return ends
    case .passing:
      descriptorCount -= 1
      return true
    case .borrowed(_, let ends): return ends
    case .keep: return false
    }
  }

  private static func length(of entry: borrowing Outbound) -> Int {
    switch entry {
    case .bytes(let bytes, _): bytes.count
    case .passing(let bytes, _): bytes.count
    case .borrowed(let bytes, _): bytes.count
    case .keep: 0
    }
  }

  @unsafe private static func add(
    _ entry: borrowing Outbound, skip: Int, to gather: inout Gather
  ) -> Bool {
    switch entry {
    case .bytes(let bytes, let ends):
      // Safe because: the array stays in the queue, unshared and unchanged, while the write lasts.
      unsafe bytes.withUnsafeBytes {
        unsafe gather.add(UnsafeRawBufferPointer(rebasing: $0[skip...]))
      }
      return ends
    case .passing(let bytes, let descriptor):
      if skip == 0 {
        guard unsafe gather.count == 0 else {
          unsafe gather.close()
          return true
        }
        unsafe gather.pass(descriptor.number)
      }
      // Safe because: as above.
      unsafe bytes.withUnsafeBytes {
        unsafe gather.add(UnsafeRawBufferPointer(rebasing: $0[skip...]))
      }
      return true
    case .borrowed(let bytes, let ends):
      unsafe gather.add(UnsafeRawBufferPointer(rebasing: bytes[skip...]))
      return ends
    case .keep: return false
    }
  }
}
