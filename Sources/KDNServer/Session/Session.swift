internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// One connection: the only place that sees link, frames and pool together.
///
/// Lives on one loop. Reading stops while as many bytes wait to be sent as the connection's credit,
/// so a client that does not read cannot make the daemon hold more than that for it.
final class Session: ServedConnection {
  /// Charged for a connection that rests.
  static let restingBytes = 4 << 10
  /// How long a connection that is over still reads, so that what it sent last arrives: closing a
  /// socket with unread bytes throws away what waits on the other side.
  static let farewellMilliseconds: UInt64 = 1000
  /// A client that keeps memory from others without need is shown out once it has asked nothing
  /// for this long: it can come in again at once.
  static let strandedIdleMilliseconds: UInt64 = 2000
  /// How long a descriptor waits that the kernel does not let pass now.
  static let descriptorPauseMilliseconds: UInt64 = 5
  /// How often it is asked whether the client may still be here.
  static let passCheckMilliseconds: UInt64 = 400

  let context: ServerContext
  /// The limits that held when the connection was accepted; HELLO tells them.
  let limits: Limits
  let link: any SessionLink
  /// How the client reaches the daemon.
  let kind: LinkKind
  let owner: OwnerID
  /// Where requests of this loop are counted.
  let times: LoopTimes
  let linkCounter: LinkCounter
  private let shareCounter: LinkCounter
  /// When HELLO, and a TLS handshake before it, must be complete.
  let handshakeEnds: Instant
  /// What HELLO made of the connection.
  var member: Member?
  /// The memory that the client shares; nil if it may not.
  private(set) var share: MemoryShare?
  /// It has used shared memory, and counts among those who do.
  private var usesShare = false
  /// A HELLO that is being refused; nothing is read meanwhile.
  var refusal: PendingRefusal?
  var nextPassCheck: Instant
  /// The tenants at whose time that was asked last.
  var seenTenants: UInt64
  var machine: SessionMachine
  var transfers: [UInt64: Transfer] = [:]
  var pendingGets: [UInt64: PendingGet] = [:]
  var pendingReplies: [UInt64: PendingReply] = [:]
  var pendingTakes: [UInt64: PendingTake] = [:]
  /// It has asked for work, and may have some.
  var takesWork = false
  /// What of PUTs waits for bytes that are on their way.
  var remote = RemoteTransfers()
  /// Numbers the requests that are answered from other threads.
  var lastSerial: UInt64 = 0
  /// Puts frames together.
  var encoder = FrameEncoder()
  /// How fast this client takes bytes.
  private(set) var sendRate = SendRate()
  var decoder: FrameDecoder
  var payloadTransfer: Transfer?
  private var isReading = true
  private var isWriting = false
  /// It is on its way back to bytes that the link has taken from the socket already.
  private var isResuming = false
  private(set) var isClosed = false
  private var isServing = true
  /// The last read took less than there was room for: the socket is empty, no need to ask again.
  var isDry = false
  /// Bytes copied out of the window since the last read from the link.
  var copiedInTurn = 0
  /// Frames wait in the decoder until the others have had their turn.
  var hasWaitingFrames = false
  /// Nothing more is taken from the client; what is queued goes out, then the connection ends.
  var closesWhenFlushed = false
  /// Everything is out; when to stop waiting for the other side's end.
  private var farewellEnds: Instant?
  /// It is one of the few above the cap.
  private var hasSurplusPlace = false
  private var chargedBytes = 0
  private var lastSentBytes: UInt64 = 0
  private var countedSentBytes: UInt64 = 0
  private var countedReceivedBytes: UInt64 = 0
  private var lastSendProgress: Instant
  /// When the last request came.
  var lastRequestAt: Instant
  private var ended: (() -> Void)?

  /// Takes over a connection of `kind` that has come in on the loop with this number.
  init(
    over link: any SessionLink, kind: LinkKind, loop: Int, context: ServerContext, now: Instant
  ) {
    let limits = context.limits
    self.context = context
    self.limits = limits
    self.link = link
    self.kind = kind
    owner = context.makeOwner()
    times = context.operations[loop: loop]
    linkCounter = context.links[kind]
    shareCounter = context.links[.sharedMemory]
    handshakeEnds = now.advanced(milliseconds: UInt64(limits.handshakeTimeoutMilliseconds))
    machine = SessionMachine(limits: limits, acceptedAt: now)
    decoder = FrameDecoder(
      maxBodyBytes: Limits.handshakeBodyBytesMax,
      maxFramePayloadBytes: limits.maxFramePayloadBytes)
    lastSendProgress = now
    lastRequestAt = now
    nextPassCheck = now
    seenTenants = context.admission.generation
    linkCounter.opened()
  }

  /// Begins to serve on `loop`; `ended` is called once when the session is over.
  func start(on loop: isolated Loop, ended: @escaping () -> Void) {
    self.ended = ended
    guard watchLink(on: loop) else { return }
    if !charge(Self.restingBytes) {
      let limit = Self.restingBytes
      goAway(.busy, FieldFault("bufferBytes", value: limit, limit: limit, "try again later"))
    }
    flush(on: loop)
  }

  /// Only tells the client why it is not served; `ended` is called once when it knows.
  func refuse(
    _ status: Status, _ field: String, limit: Int, on loop: isolated Loop,
    ended: @escaping () -> Void
  ) {
    self.ended = ended
    goAway(status, FieldFault(field, value: limit, limit: limit, "try again later"))
    // Above the cap only a few are seen off with care, so that the cap is one.
    hasSurplusPlace = status == .tooManyConnections && context.admitSurplus()
    guard hasSurplusPlace || status != .tooManyConnections else {
      _ = link.flush()
      return close(on: loop)
    }
    guard watchLink(on: loop) else { return }
    flush(on: loop)
  }

  private func watchLink(on loop: isolated Loop) -> Bool {
    do {
      try link.watch(on: loop, for: self)
      return true
    } catch {
      context.log.warning("a connection cannot be watched", metadata: ["error": "\(error)"])
      close(on: loop)
      return false
    }
  }

  func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
    // Nothing is watched while a HELLO waits to be refused: the connection has broken.
    if readable, refusal != nil { return close(on: loop) }
    if readable && isReading { receive(on: loop) }
    flush(on: loop)
  }

  func tick(now: Instant, on loop: isolated Loop) -> Instant {
    guard !isClosed else { return .never }
    if let end = farewellEnds, end <= now {
      close(on: loop)
      return .never
    }
    answerRefusal(now: now)
    expireTransfers(now)
    expireGets(now, on: loop)
    expireReplies(now)
    expireTakes(now)
    expireCommits(now, on: loop)
    share?.expire(now: now)
    if !closesWhenFlushed, !isStillAdmitted(now: now) { goAway(.unauthorised, nil) }
    if !closesWhenFlushed, let fault = nuisance(now) { goAway(.busy, fault) }
    if let fault = timeout(now) {
      context.counters.countTimeout()
      goAway(.deadline, fault)
      _ = link.flush()
      close(on: loop)
    } else {
      flush(on: loop)
    }
    return min(
      pendingGets.values.map(\.deadline).min() ?? .never,
      pendingReplies.values.map(\.deadline).min() ?? .never,
      pendingTakes.values.map(\.ends).min() ?? .never,
      remote.nextDeadline, share?.nextEnd ?? .never,
      refusal?.due ?? .never, farewellEnds ?? .never)
  }

  /// Goes away when what is in flight has been answered.
  func drain(on loop: isolated Loop) {
    guard !isClosed, !closesWhenFlushed else { return }
    refusal = nil
    expireTakes(loop.now(), all: true)
    machine.drain()
    goAway(.draining, nil, closing: false)
    flush(on: loop)
  }

  // MARK: Sending and ending

  /// Sends what waits, adjusts what the loop watches, and closes where that was due.
  func flush(on loop: isolated Loop) {
    guard !isClosed else { return }
    let isAlive = link.flush()
    countBytes()
    guard isAlive else { return close(on: loop) }
    let now = loop.now()
    if link.sentBytes != lastSentBytes || link.queuedBytes == 0 {
      lastSentBytes = link.sentBytes
      lastSendProgress = now
    }
    measure(now)
    if machine.isDrained && transfers.isEmpty { closesWhenFlushed = true }
    if closesWhenFlushed { sayFarewell(now, on: loop) }
    if link.isShortOfDescriptors {
      // No event tells when others have received theirs: a tick tries again.
      loop.wake(at: now.advanced(milliseconds: Self.descriptorPauseMilliseconds))
    }
    watch(on: loop)
  }

  /// Ends the session: leases, reservations and waits of this connection end with it.
  func close(on loop: isolated Loop) {
    guard !isClosed else { return }
    isClosed = true
    // Nothing may move bytes of transfers any more when they are dropped.
    link.unwatch(on: loop)
    endService()
    context.pool.refundBuffers(chargedBytes)
    chargedBytes = 0
    countBytes()
    if link.handshake != .none && link.handshake != .done { linkCounter.countHandshakeFailure() }
    linkCounter.closed()
    if hasSurplusPlace { context.surplusEnded() }
    ended?()
    ended = nil
  }

  /// Ends what the client began; once everything is out, tells it so and waits for its own end.
  private func sayFarewell(_ now: Instant, on loop: isolated Loop) {
    endService()
    guard farewellEnds == nil, link.queuedBytes == 0 else { return }
    link.finishSending()
    let end = now.advanced(milliseconds: Self.farewellMilliseconds)
    farewellEnds = end
    loop.wake(at: end)
  }

  private func endService() {
    guard isServing else { return }
    isServing = false
    for get in pendingGets.values { get.cancel(in: context.pool) }
    context.counters.countWaiting(-pendingGets.count)
    context.counters.countTransfers(-transfers.count)
    pendingGets.removeAll()
    pendingReplies.removeAll()
    endWork(now: SystemClock().now())
    remote.removeAll()
    endShare()
    transfers.removeAll()
    payloadTransfer = nil
    context.pool.ownerEnded(owner)
    member?.gate.leave()
  }

  private func watch(on loop: isolated Loop) {
    let hasRoom = closesWhenFlushed || link.queuedBytes < limits.creditBytes
    let mayRead = refusal == nil && hasRoom
    let mustWrite = link.wantsToWrite
    if mayRead != isReading || mustWrite != isWriting {
      link.update(readable: mayRead, writable: mustWrite, on: loop)
      isReading = mayRead
      isWriting = mustWrite
    }
    if mayRead, hasWaitingFrames || link.hasBufferedInput { resume(on: loop) }
  }

  /// Comes back to bytes of which no event will tell, after the others have had their turn.
  private func resume(on loop: isolated Loop) {
    guard !isResuming else { return }
    isResuming = true
    LoopSignal(loop: loop, session: self).raise { session, loop in
      session.isResuming = false
      if session.isReading { session.receive(on: loop) }
    }
  }

  // MARK: Shared memory

  /// Lets the client use shared memory from now on.
  func open(_ share: MemoryShare?) { self.share = share }

  /// Counters of shared memory; the first use makes the connection one of those that share it.
  var sharedCounter: LinkCounter {
    if !usesShare { shareCounter.opened() }
    usesShare = true
    return shareCounter
  }

  private func endShare() {
    share?.end()
    share = nil
    if usesShare { shareCounter.closed() }
    usesShare = false
  }

  // MARK: Time and memory

  private func timeout(_ now: Instant) -> FieldFault? {
    guard farewellEnds == nil else { return nil }
    let stall = UInt64(limits.writeStallMilliseconds)
    if link.queuedBytes > 0, now > lastSendProgress.advanced(milliseconds: stall) {
      return FieldFault("writeStallMillis", value: stall, limit: stall, "nothing was taken")
    }
    if link.handshake == .underWay, now >= handshakeEnds { return machine.timeoutFault }
    let isIdle = !closesWhenFlushed && transfers.isEmpty && link.queuedBytes == 0
    return isIdle && machine.timeout(now: now) != nil ? machine.timeoutFault : nil
  }

  /// Says what the client keeps from others without need.
  private func nuisance(_ now: Instant) -> FieldFault? {
    guard let share, now > lastRequestAt.advanced(milliseconds: Self.strandedIdleMilliseconds),
      machine.requestsInFlight == 0, transfers.isEmpty, link.queuedBytes == 0, share.isInTheWay
    else { return nil }
    return FieldFault("slabs", value: 1, limit: 0, "mapped slabs are gone: come in again")
  }

  private func measure(_ now: Instant) {
    if link.queuedBytes > 0 {
      sendRate.busy(sent: link.sentBytes, now: now)
    } else {
      sendRate.idle(sent: link.sentBytes, now: now)
    }
  }

  private func countBytes() {
    let sent = link.sentBytes - countedSentBytes
    let received = link.receivedBytes - countedReceivedBytes
    guard sent > 0 || received > 0 else { return }
    context.counters.countSent(sent)
    context.counters.countReceived(received)
    linkCounter.count(sent: sent)
    linkCounter.count(received: received)
    member?.gate.counters.countSent(sent)
    member?.gate.counters.countReceived(received)
    countedSentBytes = link.sentBytes
    countedReceivedBytes = link.receivedBytes
  }

  /// Charges the memory budget for `bytes` in all; false if they are not there.
  func charge(_ bytes: Int) -> Bool {
    guard bytes > chargedBytes else { return true }
    guard context.pool.chargeBuffers(bytes - chargedBytes) else { return false }
    chargedBytes = bytes
    return true
  }

  /// Gives back what a body took that has been read.
  func refundBody() {
    guard chargedBytes > Self.restingBytes, decoder.wantedControlBytes <= Self.controlReadBytes
    else { return }
    context.pool.refundBuffers(chargedBytes - Self.restingBytes)
    chargedBytes = Self.restingBytes
  }
}
