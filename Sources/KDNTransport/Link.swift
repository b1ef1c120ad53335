internal import CPlatform
internal import Glibc
package import KDNMemory

/// What came of an attempt to receive.
package enum Reception: Equatable, Sendable {
  /// So many bytes arrived.
  case bytes(Int)
  /// Nothing is there now.
  case wouldBlock
  /// The other side has finished, or the connection broke.
  case ended
}

/// A stream socket that sends messages from memory in place and receives where it is told.
///
/// It knows nothing of frames: a *message* is a run of bytes that must not be interrupted. Urgent
/// messages go ahead of ordinary ones that have not begun.
package final class Link {
  /// Most pieces in one vectored write.
  private static let piecesPerWrite = 64
  /// Most bytes offered to the kernel in one vectored write.
  private static let bytesPerWrite = 4 << 20

  private let socket: Descriptor
  private var urgent = OutboundQueue()
  private var ordinary = OutboundQueue()
  /// Bytes that wait to be sent.
  package var queuedBytes: Int { urgent.byteCount + ordinary.byteCount }
  /// All bytes sent so far.
  package private(set) var sentBytes: UInt64 = 0
  /// All bytes received so far.
  package private(set) var receivedBytes: UInt64 = 0

  /// Takes over a connected non-blocking socket.
  package init(owning number: Int32) {
    socket = Descriptor(owning: number)
  }

  /// The kernel's number of the socket.
  package var number: Int32 { socket.number }
  /// True while the socket must be watched for room to write.
  package var wantsToWrite: Bool { queuedBytes > 0 }
  /// True if bytes have been taken from the socket that `receive` has not given out yet: no event
  /// will tell of them.
  package var hasBufferedInput: Bool { false }

  /// Receives into `buffer`, which must not be empty.
  @unsafe package func receive(into buffer: UnsafeMutableRawBufferPointer) -> Reception {
    unsafe receive(into: buffer, then: UnsafeMutableRawBufferPointer(start: nil, count: 0))
  }

  /// Receives into `first`, which must not be empty, and into `second` when `first` is full.
  @unsafe package func receive(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) -> Reception {
    while true {
      let count = unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { pieces in
        unsafe pieces[0] = iovec(iov_base: first.baseAddress, iov_len: first.count)
        unsafe pieces[1] = iovec(iov_base: second.baseAddress, iov_len: second.count)
        return unsafe kdn_receive(socket.number, pieces.baseAddress, second.isEmpty ? 1 : 2)
      }
      if count > 0 {
        receivedBytes += UInt64(count)
        return .bytes(count)
      }
      if count == 0 { return .ended }
      switch errno {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      default: return .ended
      }
    }
  }

  /// Queues a message of plain bytes; `isUrgent` lets it pass ordinary ones.
  package func send(_ bytes: [UInt8], isUrgent: Bool) {
    if isUrgent {
      urgent.append(.bytes(bytes, endsMessage: true))
    } else {
      ordinary.append(.bytes(bytes, endsMessage: true))
    }
  }

  /// Queues the front of an ordinary message that `sendBorrowed` continues and `endMessage` ends.
  package func beginMessage(_ bytes: [UInt8]) {
    ordinary.append(.bytes(bytes, endsMessage: false))
  }

  /// Queues bytes in place; readable until a lease that `keep` takes later is dropped.
  @unsafe package func sendBorrowed(_ bytes: UnsafeRawBufferPointer, endsMessage: Bool) {
    ordinary.append(unsafe .borrowed(bytes, endsMessage: endsMessage))
  }

  /// Holds `lease` until everything queued before it has been sent.
  package func keep(_ lease: consuming Lease) {
    ordinary.append(.keep(lease))
  }

  /// Sends as much as the kernel takes, at most `budget` bytes.
  ///
  /// - Returns: false if the connection broke.
  package func flush(budget: Int = 16 << 20) -> Bool {
    var left = budget
    while queuedBytes > 0, left > 0 {
      guard let sent = write() else { return false }
      guard sent > 0 else { return true }
      left -= sent
    }
    ordinary.dropFinished()
    return true
  }

  /// One vectored write: nil if the connection broke, 0 if the kernel takes nothing now.
  private func write() -> Int? {
    let capacity = Self.piecesPerWrite
    let sent = unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: capacity) { pieces in
      var gather = unsafe Gather(pieces: pieces, bytesLeft: Self.bytesPerWrite)
      // An ordinary message that has begun is finished first; then the urgent ones may pass.
      if ordinary.isInsideMessage { unsafe ordinary.gather(into: &gather, firstMessageOnly: true) }
      unsafe urgent.gather(into: &gather, firstMessageOnly: false)
      if !ordinary.isInsideMessage {
        unsafe ordinary.gather(into: &gather, firstMessageOnly: false)
      }
      return unsafe kdn_send(socket.number, pieces.baseAddress, gather.count)
    }
    guard sent >= 0 else {
      return errno == EAGAIN || errno == EINTR ? 0 : nil
    }
    sentBytes += UInt64(sent)
    account(sent)
    return sent
  }

  private func account(_ sent: Int) {
    var rest = sent
    if ordinary.isInsideMessage { rest -= ordinary.consume(rest, firstMessageOnly: true) }
    rest -= urgent.consume(rest, firstMessageOnly: false)
    rest -= ordinary.consume(rest, firstMessageOnly: false)
    precondition(rest == 0, "the kernel sent more than it was given")
  }
}
