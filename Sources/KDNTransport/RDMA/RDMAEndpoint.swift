internal import CIBVerbs
internal import DequeModule
internal import Glibc
internal import KDNCore

/// A transfer that has ended well.
package struct RDMACompletion: Hashable, Sendable {
  /// The caller's name for the transfer.
  package let token: UInt64
  /// Bytes that it moved.
  package let byteCount: Int
}

/// One connected queue pair: a stream of bytes both ways, and one-sided transfers in order with it.
///
/// It belongs to one loop, or to one thread at a time. What is sent later arrives after a write
/// that was queued before; what the memory of a transfer belongs to is kept until the transfer has
/// ended, or until the queues are destroyed.
package final class RDMAEndpoint {
  /// The device and domain of the connection.
  package let context: RDMAContext
  /// Whom the connection leads to.
  package let peerAddress: PeerAddress
  /// Why nothing more can be sent; nil while all is well.
  package private(set) var fault: RDMAFault?
  /// Told on the server's loop, as if all were ready, when the other side left or the device went:
  /// no completion tells of that.
  package weak var member: (any LoopMember)?
  /// Bytes of the stream given to the device so far.
  package private(set) var sentBytes: UInt64 = 0
  /// Bytes of the stream that came so far.
  package private(set) var receivedBytes: UInt64 = 0
  /// Bytes that finished writes have moved.
  package private(set) var writtenBytes: UInt64 = 0
  /// Bytes that finished reads have moved.
  package private(set) var readBytes: UInt64 = 0
  /// Bytes of the stream that wait to be given to the device.
  package private(set) var queuedBytes = 0
  /// Transfers that have not ended.
  package private(set) var queuedTransfers = 0

  let pair: RDMAQueuePair
  private let slots: RDMAMessageSlots
  private let streamBytesMax: Int
  private var credit: RDMACredit
  private var inbox = RDMAInbox()
  private var outbox: Deque<RDMAOutgoing> = []
  /// How much of the first bytes in the outbox was given to the device.
  private var sentOfFirst = 0
  private var inFlight: Deque<RDMAInFlight> = []
  private var postedRequests = 0
  private var postedStreamBytes = 0
  private var nextNumber: UInt64 = 1
  private var freeSlots: [Int]
  private var completions: [RDMACompletion] = []
  private var isFinishing = false
  /// All that is known of the end is that the device dropped what was posted.
  private var isFlushed = false
  /// Called once when the endpoint is closed, before its identifier goes.
  var closing: (() -> Void)?
  private(set) var isClosed = false

  /// Takes over queues whose other side has introduced itself.
  ///
  /// - Throws: if memory for messages cannot be registered.
  init(
    _ pair: RDMAQueuePair, greeting: RDMAGreeting, settings: RDMASettings
  ) throws(RDMAFault) {
    self.pair = pair
    context = pair.context
    peerAddress = pair.identifier.peerAddress
    let messageBytes = min(settings.messageBytes, greeting.messageBytes)
    streamBytesMax = messageBytes - RDMAMessagePrefix.byteCount
    slots = try RDMAMessageSlots(
      count: RDMASettings.sendSlots, slotBytes: messageBytes, in: pair.context)
    freeSlots = Array(0..<RDMASettings.sendSlots)
    credit = RDMACredit(granted: settings.receives, announced: greeting.receives)
  }

  deinit { close() }

  /// True until `close`.
  package var isOpen: Bool { !isClosed }
  /// The completion channel's descriptor; when it can be read, `poll` has something to do.
  package var channelNumber: Int32 { pair.channelNumber }
  /// True if bytes have come that `receive` has not given out yet.
  package var hasBufferedInput: Bool { inbox.byteCount > 0 }
  /// Bytes of the stream that the other side has not acknowledged, queued ones included.
  package var unfinishedBytes: Int { queuedBytes + postedStreamBytes }

  // MARK: The stream

  /// Queues bytes of the stream behind everything queued before.
  package func send(_ bytes: [UInt8]) {
    guard fault == nil, !isClosed, !bytes.isEmpty else { return }
    outbox.append(.bytes(bytes))
    queuedBytes += bytes.count
    pump()
  }

  /// Receives into `first`, which must not be empty, and into `second` when `first` is full.
  ///
  /// - Returns: `ended` once the connection is over and, if the other side just left, all that it
  ///   had sent has been taken.
  @unsafe package func receive(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) -> Reception {
    if inbox.byteCount == 0 { _ = poll() }
    guard fault == nil || isReadable else { return .ended }
    let front = unsafe inbox.read(into: first)
    let isFull = front.bytes == first.count
    let back = unsafe isFull ? inbox.read(into: second) : (bytes: 0, messages: 0)
    for _ in 0..<front.messages + back.messages { credit.consumed() }
    pump()
    let count = front.bytes + back.bytes
    return count > 0 ? .bytes(count) : fault == nil ? .wouldBlock : .ended
  }

  /// What was received before the other side left, or the device went, may still be read.
  private var isReadable: Bool {
    inbox.byteCount > 0 && (fault == .disconnected || fault == .deviceRemoved)
  }

  /// Disconnects once all that is queued has been acknowledged.
  package func finishSending() {
    isFinishing = true
    pump()
  }

  // MARK: Transfers

  func queue(_ transfer: RDMATransfer) {
    guard fault == nil, !isClosed else { return }
    outbox.append(.transfer(transfer))
    queuedTransfers += 1
    pump()
  }

  /// The transfers that have ended well since the last call, in their order.
  ///
  /// After a fault nothing more ends; `close` then drops what the rest kept.
  package func takeCompletions() -> [RDMACompletion] {
    defer { completions.removeAll(keepingCapacity: true) }
    return completions
  }

  // MARK: Progress

  /// Takes what the device has finished and gives it what waits.
  ///
  /// - Returns: false if the connection is over and nothing of it is left to be read.
  package func poll() -> Bool {
    guard !isClosed else { return false }
    pair.acknowledgeEvents()
    let isUsable = pair.poll { take($0) }
    if !isUsable { leave(.broken("the completion queue failed")) }
    pump()
    return fault == nil || isReadable
  }

  private func take(_ completion: ibv_wc) {
    let isGood = completion.status == IBV_WC_SUCCESS
    if let slot = RDMAWorkID.slot(completion.wr_id) {
      if isGood { takeMessage(slot, byteCount: Int(completion.byte_len)) }
      // A shared receive is given back whatever came of it; one's own serves on if all is well.
      let isShared = unsafe pair.receives.shared != nil
      if isGood || isShared, !pair.repost(slot), fault == nil {
        leave(.broken("a receive cannot be posted"))
      }
      if !isGood { failed(completion) }
    } else if isGood {
      finish(completion.wr_id)
    } else {
      failed(completion)
    }
  }

  private func failed(_ completion: ibv_wc) {
    let status = unsafe String(cString: ibv_wc_status_str(completion.status))
    guard completion.status == IBV_WC_WR_FLUSH_ERR else {
      // What a failure flushes may be told before the failure.
      if isFlushed { fault = .broken(status) }
      isFlushed = false
      return leave(.broken(status))
    }
    // Flushed without a failure here: the other side has gone, and the event is yet to come.
    if fault == nil { isFlushed = true }
    leave(.disconnected)
  }

  private func takeMessage(_ slot: Int, byteCount: Int) {
    guard fault == nil else { return }
    do throws(FieldFault) {
      let message = unsafe UnsafeRawBufferPointer(rebasing: pair.receives.slots[slot][..<byteCount])
      let prefix = unsafe try RDMAMessagePrefix(
        decoding: RawSpan(_unsafeBytes: message), messageBytes: byteCount)
      try credit.arrived(returning: prefix.creditsReturned)
      guard prefix.streamBytes > 0 else { return credit.consumed() }
      unsafe inbox.append(Array(message.dropFirst(RDMAMessagePrefix.byteCount)))
      receivedBytes += UInt64(prefix.streamBytes)
    } catch {
      leave(.violation(error))
    }
  }

  /// Ends what has this number, as soon as all that was posted before it has ended.
  ///
  /// Completions should come in order, but the kernel's iWARP lets those of what was sent later
  /// pass a read's.
  private func finish(_ number: UInt64) {
    guard let oldest = inFlight.first?.number, number >= oldest,
      number - oldest < UInt64(inFlight.count)
    else { return }
    inFlight[Int(number - oldest)].isDone = true
    while let first = inFlight.first, first.isDone {
      inFlight.removeFirst()
      postedRequests -= first.requests
      switch first.purpose {
      case .message(let slot, let streamBytes):
        freeSlots.append(slot)
        postedStreamBytes -= streamBytes
      case .part: break
      case .transfer(let transfer): finish(transfer)
      }
    }
  }

  private func finish(_ transfer: RDMATransfer) {
    let count = transfer.chain.byteCount
    switch transfer.direction {
    case .write: writtenBytes += UInt64(count)
    case .read: readBytes += UInt64(count)
    }
    queuedTransfers -= 1
    completions.append(RDMACompletion(token: transfer.token, byteCount: count))
  }

  // MARK: Sending

  private func pump() {
    guard !isClosed else { return }
    while fault == nil, let first = outbox.first {
      let goesOn =
        switch first {
        case .bytes: credit.maySendStream && sendMessage()
        case .transfer(let transfer): advance(transfer)
        }
      guard goesOn else { break }
    }
    if fault == nil, credit.shouldReturn { _ = sendMessage(onlyCredits: true) }
    if isFinishing, fault == nil, outbox.isEmpty, inFlight.isEmpty { leave(.disconnected) }
  }

  /// Sends one message with as much of the stream as is next and fits; false if there is no room.
  private func sendMessage(onlyCredits: Bool = false) -> Bool {
    guard postedRequests < pair.depth, let slot = freeSlots.popLast() else { return false }
    let count = onlyCredits ? 0 : fill(slot)
    let prefix = RDMAMessagePrefix(creditsReturned: credit.send(), streamBytes: count)
    unsafe slots[slot].storeBytes(of: prefix.encoded, as: UInt64.self)
    queuedBytes -= count
    postedStreamBytes += count
    sentBytes += UInt64(count)
    let number = note(.message(slot: slot, streamBytes: count), requests: 1)
    let entry = slots.entry(slot, byteCount: RDMAMessagePrefix.byteCount + count)
    return posted(pair.send(entry, number: number))
  }

  /// Moves bytes from the front of the outbox into a slot, behind the prefix; says how many.
  private func fill(_ slot: Int) -> Int {
    let room = unsafe UnsafeMutableRawBufferPointer(
      rebasing: slots[slot].dropFirst(RDMAMessagePrefix.byteCount))
    var filled = 0
    while filled < streamBytesMax, case .bytes(let bytes)? = outbox.first {
      let count = min(streamBytesMax - filled, bytes.count - sentOfFirst)
      // Safe because: both ranges have `count` bytes within their bounds.
      unsafe bytes.withUnsafeBytes { source in
        unsafe UnsafeMutableRawBufferPointer(rebasing: room[filled..<filled + count])
          .copyMemory(
            from: UnsafeRawBufferPointer(rebasing: source[sentOfFirst..<sentOfFirst + count]))
      }
      filled += count
      sentOfFirst += count
      guard sentOfFirst == bytes.count else { break }
      outbox.removeFirst()
      sentOfFirst = 0
    }
    return filled
  }

  /// Posts work requests of the transfer at the front; false if there is no room for more.
  private func advance(_ transfer: RDMATransfer) -> Bool {
    guard !transfer.chain.isDone else {
      outbox.removeFirst()
      // Nothing to move: it ends with what was posted before it.
      _ = note(.transfer(transfer), requests: 0)
      finish(nextNumber - 1)
      return true
    }
    var requests: [RDMAChain.Request] = []
    while postedRequests + requests.count < pair.depth, let next = transfer.chain.next() {
      requests.append(next)
    }
    guard !requests.isEmpty else { return false }
    let isDone = transfer.chain.isDone
    if isDone { outbox.removeFirst() }
    let number = note(isDone ? .transfer(transfer) : .part(transfer), requests: requests.count)
    return posted(pair.post(requests, of: transfer, number: number))
  }

  /// Takes note of work requests before they are posted: even one that is refused may have begun.
  private func note(_ purpose: RDMAInFlight.Purpose, requests: Int) -> UInt64 {
    defer { nextNumber += 1 }
    inFlight.append(RDMAInFlight(number: nextNumber, requests: requests, purpose: purpose))
    postedRequests += requests
    return nextNumber
  }

  private func posted(_ result: Int32) -> Bool {
    guard result != 0 else { return true }
    leave(.of(result, "ibv_post_send", context.deviceName))
    return false
  }

  // MARK: The end

  /// Takes note that the connection manager told of its end; what came before is taken first.
  func ended(_ reason: RDMAFault) {
    guard !isClosed else { return }
    if reason == .deviceRemoved { context.markGone() }
    _ = poll()
    leave(reason)
  }

  /// Notes the first fault and makes the device drop everything.
  func leave(_ reason: RDMAFault) {
    if fault == nil { fault = reason }
    pair.identifier.disconnect()
  }

  /// Ends the connection, once.
  ///
  /// When it returns, no memory is touched on its behalf, and what transfers kept has been dropped.
  package func close() {
    guard !isClosed else { return }
    isClosed = true
    if fault == nil { fault = .disconnected }
    pair.destroy()
    if fault == .deviceRemoved { RDMADeviceHold.noticeRemoval() }
    outbox.removeAll()
    inFlight.removeAll()
    queuedBytes = 0
    postedStreamBytes = 0
    queuedTransfers = 0
    member = nil
    closing?()
    closing = nil
  }
}
