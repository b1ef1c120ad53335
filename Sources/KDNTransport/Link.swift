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
/// It knows nothing of frames.
package final class Link: SessionLink {
  /// Most pieces in one vectored write.
  private static let piecesPerWrite = 64
  /// Most bytes offered to the kernel in one vectored write.
  private static let bytesPerWrite = 4 << 20

  private let socket: Descriptor
  /// Encrypts what goes and decrypts what comes; nil on a plain link.
  let channel: TLSChannel?
  /// Why the link could not be secured, though it had to be.
  private let securityFault: TLSFault?
  /// What the loop calls the watch; nil while there is none.
  var token: UInt64?
  private var urgent = OutboundQueue()
  private var ordinary = OutboundQueue()
  /// Bytes that wait to be sent.
  package var queuedBytes: Int {
    urgent.byteCount + ordinary.byteCount + (channel?.stage.copiedBytes ?? 0)
  }
  /// Descriptors passed since the other side had last read everything.
  private var passedDescriptors = 0
  /// True while the kernel takes no descriptor: too many are on their way to those who do not read.
  package private(set) var isShortOfDescriptors = false
  /// All bytes sent so far; on a secured link those inside, without what encryption adds.
  package private(set) var sentBytes: UInt64 = 0
  /// All bytes received so far; on a secured link those inside.
  package private(set) var receivedBytes: UInt64 = 0

  /// Takes over a connected non-blocking socket; with `security` all bytes go inside TLS, and the
  /// handshake is driven by `receive` and `flush`.
  package init(owning number: Int32, security: TLSServer? = nil) {
    socket = Descriptor(owning: number)
    do throws(TLSFault) {
      channel = try security?.makeChannel(on: number)
      securityFault = nil
    } catch {
      channel = nil
      securityFault = error
    }
  }

  // Whoever is on the other side learns that nothing was cut off.
  deinit { channel?.sayGoodbye() }

  /// The kernel's number of the socket.
  package var number: Int32 { socket.number }
  /// Where the connection comes from.
  package var peerAddress: PeerAddress { PeerAddress(ofSocket: socket.number) }
  /// True while the socket must be watched for room to write.
  package var wantsToWrite: Bool {
    // No event tells when others have read.
    guard !isShortOfDescriptors else { return false }
    guard let channel, channel.handshake != .done else { return queuedBytes > 0 }
    return channel.handshakeWaitsToWrite
  }
  /// True if bytes have been taken from the socket that `receive` has not given out yet: no event
  /// will tell of them.
  package var hasBufferedInput: Bool { channel?.hasBufferedInput ?? false }
  /// How far the agreement on keys has come.
  package var handshake: HandshakeState {
    guard securityFault == nil else { return .failed }
    return channel?.handshake ?? .none
  }
  /// Why the handshake failed, or what broke the link inside TLS; empty otherwise.
  package var handshakeFailure: String {
    securityFault?.description ?? channel?.failure ?? ""
  }
  /// The verified client certificate's DNS names (lower case) and URIs, and its common names as
  /// `CN=…`; empty without one.
  package var peerNames: [String] { channel?.peerNames ?? [] }
  /// What secures the link, for logs: `TLS_AES_128_GCM_SHA256` and who encrypts; nil if nothing.
  package var securityDescription: String? {
    guard let channel, channel.handshake == .done else { return nil }
    return "\(channel.cipherSuite) by the \(channel.kernelSends ? "kernel" : "process")"
  }

  /// Receives into `first`, which must not be empty, and into `second` when `first` is full.
  @unsafe package func receive(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) -> Reception {
    guard channel == nil, securityFault == nil else {
      return unsafe receiveSecurely(into: first, then: second)
    }
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

  /// Descriptors that wait to be sent, or perhaps to be read by the other side.
  package var queuedDescriptors: Int {
    if passedDescriptors > 0, kdn_has_unread(socket.number) == 0 { passedDescriptors = 0 }
    return urgent.descriptorCount + passedDescriptors
  }

  /// Queues a message of plain bytes; `isUrgent` lets it pass ordinary ones.
  package func send(_ bytes: [UInt8], isUrgent: Bool) {
    if isUrgent {
      urgent.append(.bytes(bytes, endsMessage: true))
    } else {
      ordinary.append(.bytes(bytes, endsMessage: true))
    }
  }

  /// Queues an urgent message whose first byte carries `descriptor`, which is taken over and
  /// closed; only over a plain Unix socket.
  package func send(_ bytes: [UInt8], passing descriptor: Int32) {
    precondition(channel == nil && !bytes.isEmpty, "a descriptor goes with a plain byte")
    urgent.append(bytes, passing: descriptor)
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
  package func flush(budget: Int) -> Bool {
    guard handshake == .none || handshake == .done else { return flushHandshake() }
    var left = budget
    while queuedBytes > 0, left > 0 {
      let count = if let channel { writeRecord(to: channel) } else { write() }
      guard let sent = count else { return false }
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
      let gathered = unsafe gather(into: pieces, bytesMax: Self.bytesPerWrite)
      guard let passed = unsafe gathered.descriptor else {
        return unsafe kdn_send(socket.number, pieces.baseAddress, gathered.count)
      }
      let count = unsafe kdn_send_passing(
        socket.number, pieces.baseAddress, gathered.count, passed)
      if count > 0 { passedDescriptors += 1 }
      return count
    }
    // What others leave unread may use up the kernel's limit: that passes, the link is whole.
    isShortOfDescriptors = sent < 0 && errno == ETOOMANYREFS
    guard sent >= 0 else {
      return [EAGAIN, EINTR, ETOOMANYREFS].contains(errno) ? 0 : nil
    }
    sentBytes += UInt64(sent)
    account(sent)
    return sent
  }

  /// Puts what goes out next into `pieces`.
  private func gather(
    into pieces: UnsafeMutableBufferPointer<iovec>, bytesMax: Int
  ) -> Gather {
    var gather = unsafe Gather(pieces: pieces, bytesLeft: bytesMax)
    // An ordinary message that has begun is finished first; then the urgent ones may pass.
    if ordinary.isInsideMessage { unsafe ordinary.gather(into: &gather, firstMessageOnly: true) }
    unsafe urgent.gather(into: &gather, firstMessageOnly: false)
    if !ordinary.isInsideMessage {
      unsafe ordinary.gather(into: &gather, firstMessageOnly: false)
    }
    return unsafe gather
  }

  private func account(_ sent: Int) {
    var rest = sent
    if ordinary.isInsideMessage { rest -= ordinary.consume(rest, firstMessageOnly: true) }
    rest -= urgent.consume(rest, firstMessageOnly: false)
    rest -= ordinary.consume(rest, firstMessageOnly: false)
    precondition(rest == 0, "the kernel sent more than it was given")
  }

  // MARK: Inside TLS

  private func receiveSecurely(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) -> Reception {
    guard let channel else { return .ended }
    switch channel.shakeHands() {
    case .bytes: break
    case .wantsRead, .wantsWrite: return .wouldBlock
    case .ended: return .ended
    }
    switch unsafe channel.receive(into: first, then: second) {
    case .bytes(let count):
      receivedBytes += UInt64(count)
      return .bytes(count)
    case .wantsRead, .wantsWrite: return .wouldBlock
    case .ended: return .ended
    }
  }

  /// Sends what the handshake could not; nothing else may go out before its end.
  private func flushHandshake() -> Bool {
    guard let channel, channel.handshake == .underWay else { return false }
    guard channel.handshakeWaitsToWrite else { return true }
    guard channel.shakeHands() != .ended else { return false }
    return channel.handshake == .done ? flush() : true
  }

  /// Sends one record: nil if the connection broke, 0 if the kernel takes nothing now.
  private func writeRecord(to channel: TLSChannel) -> Int? {
    if channel.stage.isEmpty { stageRecord(in: channel) }
    let isInPlace = channel.stage.isInPlace
    switch channel.sendStaged() {
    case .bytes(let sent):
      sentBytes += UInt64(sent)
      if isInPlace { account(sent) }
      return sent
    case .wantsRead, .wantsWrite: return 0
    case .ended: return nil
    }
  }

  /// Puts the next record together.
  ///
  /// What is copied leaves its queue; what is sent from its place stays there until it is out.
  private func stageRecord(in channel: TLSChannel) {
    let capacity = Self.piecesPerWrite
    unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: capacity) { pieces in
      let count = unsafe gather(into: pieces, bytesMax: TLSChannel.recordBytesMax).count
      let taken = unsafe channel.stageRecord(
        of: UnsafeMutableBufferPointer(rebasing: pieces[..<count]))
      guard channel.stage.isInPlace else { return account(taken) }
      // The record may have to be offered again: nothing passes its message from here on.
      if urgent.byteCount == 0 { ordinary.hold() }
    }
  }
}
