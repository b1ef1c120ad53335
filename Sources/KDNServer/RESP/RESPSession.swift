internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// One connection of a client of Redis: the only place that sees link, commands and pool together.
///
/// Lives on one loop. Commands are carried out in their order. Reads that wait for the disk wait
/// together, and their replies keep the order; a command that changes something waits for all
/// reads before it, and all after it wait for it. Nothing is read from the socket meanwhile, nor
/// while as many bytes wait to be sent as the connection's credit.
final class RESPSession: ServedConnection {
  /// Charged for a connection that rests.
  static let restingBytes = 4 << 10
  /// How long a connection that is over still reads.
  static let farewellMilliseconds: UInt64 = 1000
  /// How often it is asked whether the client may still be here.
  static let passCheckMilliseconds: UInt64 = 400

  let context: ServerContext
  /// The limits that held when the connection was accepted.
  let limits: Limits
  let settings: RESPSettings
  let link: Link
  let owner: OwnerID
  /// Where requests of this loop are counted.
  let times: LoopTimes
  let linkCounter: LinkCounter
  /// The port that the client has reached.
  let port: Int
  /// Who does not log in by then is shown out.
  var handshakeEnds: Instant
  /// What opened the namespace; nil: nobody has logged in.
  var login: RESPLogin?
  /// An AUTH that is being refused; nothing is read meanwhile.
  var refusal: PendingLogin?
  var nextPassCheck: Instant
  var seenTenants: UInt64
  var conversation: RESPConversation
  var decoder: RESPDecoder
  var replies = RESPReplies()
  /// A SET whose value is on its way.
  var store: RESPStore?
  /// Reads that wait for the disk, by number.
  var loads: [UInt64: PendingLoad] = [:]
  /// The places of their replies, and the number of the next one.
  var loadPlaces: [UInt64: UInt64] = [:]
  var nextLoad: UInt64 = 1
  /// A command that waits for all reads before it.
  var stalled: RESPDecoder.Event?
  /// A command that changes something is being carried out: number of its reply.
  var change: UInt64?
  /// Lengths of what this client has stored, by family of keys: what it awaits.
  var ownLengths = ValueLengths()
  private var token: UInt64 = 0
  private var isReading = true
  private var isWriting = false
  private(set) var isClosed = false
  private var isServing = true
  /// The last read took less than there was room for.
  var isDry = false
  /// Nothing more is taken; what is queued goes out, then the connection ends.
  var closesWhenFlushed = false
  /// It ends once all commands that have arrived are answered.
  private(set) var isDraining = false
  private var farewellEnds: Instant?
  private var hasSurplusPlace = false
  private var chargedBytes = 0
  private var lastSentBytes: UInt64 = 0
  private var countedSentBytes: UInt64 = 0
  private var countedReceivedBytes: UInt64 = 0
  private var lastSendProgress: Instant
  private var lastReceive: Instant
  private var ended: (() -> Void)?

  /// Takes over a socket that the loop with this number has accepted.
  init(owning number: Int32, loop: Int, context: ServerContext, now: Instant) {
    let values = context.settings.values
    self.context = context
    limits = values.limits
    settings = values.resp
    link = Link(owning: number)
    owner = context.makeOwner()
    times = context.operations[loop: loop]
    linkCounter = context.links[.resp]
    handshakeEnds = now.advanced(milliseconds: UInt64(values.limits.handshakeTimeoutMilliseconds))
    let endpoint = link.localEndpoint
    conversation = RESPConversation(
      connectionID: owner.number, peer: "\(link.peerAddress)",
      local: endpoint.map { "\($0)" } ?? "")
    conversation.configuration.removeAll { $0.name == "maxmemory" }
    conversation.configuration.append(
      ("maxmemory", "\(context.pool.configuration.memoryBytesMax)"))
    port = if case .tcp(_, let port) = endpoint { Int(port) } else { 0 }
    decoder = RESPDecoder(limits: RESPLimits())
    lastSendProgress = now
    lastReceive = now
    nextPassCheck = now
    seenTenants = context.admission.generation
    linkCounter.opened()
  }

  func start(on loop: isolated Loop, ended: @escaping () -> Void) {
    self.ended = ended
    guard watchLink(on: loop) else { return }
    if !charge(Self.restingBytes) { fail(.outOfMemory) }
    enterWithoutLogin(now: loop.now())
    flush(on: loop)
  }

  func refuse(
    _ status: Status, _ field: String, limit: Int, on loop: isolated Loop,
    ended: @escaping () -> Void
  ) {
    self.ended = ended
    fail(
      status == .tooManyConnections
        ? RESPError("max number of clients reached") : .busy("the server is going away"))
    hasSurplusPlace = status == .tooManyConnections && context.admitSurplus()
    guard hasSurplusPlace || status != .tooManyConnections else {
      linkCounter.count(copied: replies.send(over: link))
      _ = link.flush()
      return close(on: loop)
    }
    guard watchLink(on: loop) else { return }
    flush(on: loop)
  }

  private func watchLink(on loop: isolated Loop) -> Bool {
    do {
      token = try loop.watch(link.number, for: self)
      return true
    } catch {
      context.log.warning("a connection cannot be watched", metadata: ["error": "\(error)"])
      close(on: loop)
      return false
    }
  }

  /// Writes an error as the last reply.
  func fail(_ error: RESPError) {
    context.counters.countError()
    let encoder = conversation.encoder
    replies.write { encoder.error(error, to: &$0) }
    closesWhenFlushed = true
  }

  // MARK: The loop's calls

  func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
    // Nothing is watched while a login waits to be refused: the socket has broken.
    if readable, refusal != nil { return close(on: loop) }
    if readable && isReading {
      lastReceive = loop.now()
      receive(on: loop)
    }
    flush(on: loop)
  }

  func tick(now: Instant, on loop: isolated Loop) -> Instant {
    guard !isClosed else { return .never }
    if let end = farewellEnds, end <= now {
      close(on: loop)
      return .never
    }
    answerRefusal(now: now, on: loop)
    expireLoads(now: now, on: loop)
    if !closesWhenFlushed, !isStillAdmitted(now: now) { fail(.noAuthentication) }
    guard !isClosed else { return .never }
    if isOverdue(now) {
      context.counters.countTimeout()
      close(on: loop)
      return .never
    }
    flush(on: loop)
    return min(
      loads.values.map(\.deadline).min() ?? .never, refusal?.due ?? .never, farewellEnds ?? .never)
  }

  /// Answers what has arrived, then ends.
  func drain(on loop: isolated Loop) {
    guard !isClosed, !closesWhenFlushed else { return }
    refusal = nil
    isDraining = true
    flush(on: loop)
  }

  // MARK: Sending and ending

  func flush(on loop: isolated Loop) {
    guard !isClosed else { return }
    linkCounter.count(copied: replies.send(over: link))
    let isAlive = link.flush()
    countBytes()
    guard isAlive else { return close(on: loop) }
    let now = loop.now()
    if link.sentBytes != lastSentBytes || link.queuedBytes == 0 {
      lastSentBytes = link.sentBytes
      lastSendProgress = now
    }
    if isDraining, isIdle { closesWhenFlushed = true }
    if closesWhenFlushed, replies.awaitedCount == 0 { sayFarewell(now, on: loop) }
    watch(on: loop)
  }

  /// Ends the session: reservations and waits of this connection end with it.
  func close(on loop: isolated Loop) {
    guard !isClosed else { return }
    isClosed = true
    loop.unwatch(token, link.number)
    endService()
    context.pool.refundBuffers(chargedBytes)
    chargedBytes = 0
    countBytes()
    linkCounter.closed()
    if hasSurplusPlace { context.surplusEnded() }
    ended?()
    ended = nil
  }

  /// Whether no command is under way.
  private var isIdle: Bool {
    store == nil && replies.awaitedCount == 0 && stalled == nil && refusal == nil
  }

  /// Whether what arrives is taken at all now.
  var mayTake: Bool {
    !isClosed && !closesWhenFlushed && refusal == nil && stalled == nil && change == nil
      && replies.awaitedCount < limits.maxRequestsInFlight
      && link.queuedBytes + replies.waitingBytes < limits.creditBytes
  }

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
    for load in loads.values { load.fetch.cancel() }
    context.counters.countWaiting(-loads.count)
    loads.removeAll()
    endStore()
    stalled = nil
    leave()
  }

  private func watch(on loop: isolated Loop) {
    guard !isClosed else { return }
    let mayRead = closesWhenFlushed || mayTake
    let mustWrite = link.wantsToWrite
    guard mayRead != isReading || mustWrite != isWriting else { return }
    let resumes = mayRead && !isReading
    loop.update(token, link.number, readable: mayRead, writable: mustWrite)
    isReading = mayRead
    isWriting = mustWrite
    // Commands that were read along with others are not told of by any event.
    if resumes, decoder.bufferedBytes > 0 { resume(on: loop) }
  }

  /// Goes on with what has been read already.
  func resume(on loop: isolated Loop) {
    LoopSignal(loop: loop, session: self).raise { session, loop in
      guard !session.closesWhenFlushed else { return }
      session.goOn(on: loop)
    }
  }

  // MARK: Time and memory

  private func isOverdue(_ now: Instant) -> Bool {
    guard farewellEnds == nil else { return false }
    func isOver(_ milliseconds: Int, since start: Instant) -> Bool {
      now > start.advanced(milliseconds: UInt64(milliseconds))
    }
    if link.queuedBytes > 0 {
      return isOver(limits.writeStallMilliseconds, since: lastSendProgress)
    }
    if login == nil, refusal == nil { return now >= handshakeEnds }
    if store != nil { return isOver(limits.reservationTimeoutMilliseconds, since: lastReceive) }
    return isIdle && !closesWhenFlushed
      && isOver(limits.idleTimeoutMilliseconds, since: lastReceive)
  }

  private func countBytes() {
    let sent = link.sentBytes - countedSentBytes
    let received = link.receivedBytes - countedReceivedBytes
    guard sent > 0 || received > 0 else { return }
    context.counters.countSent(sent)
    context.counters.countReceived(received)
    linkCounter.count(sent: sent)
    linkCounter.count(received: received)
    login?.gate.counters.countSent(sent)
    login?.gate.counters.countReceived(received)
    countedSentBytes = link.sentBytes
    countedReceivedBytes = link.receivedBytes
  }

  /// Charges the memory budget for `bytes` in all, or gives back what is more; false if they are
  /// not there.
  func charge(_ bytes: Int) -> Bool {
    if bytes > chargedBytes {
      guard context.pool.chargeBuffers(bytes - chargedBytes) else { return false }
    } else {
      context.pool.refundBuffers(chargedBytes - bytes)
    }
    chargedBytes = bytes
    return true
  }
}
