internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// One connection: the only place that sees link, frames and pool together.
///
/// Lives on one loop. Reading stops while as many bytes wait to be sent as the connection's credit,
/// so a client that does not read cannot make the daemon hold more than that for it.
final class Session: LoopMember {
  /// Charged for a connection that rests.
  static let restingBytes = 4 << 10

  let context: ServerContext
  let link: Link
  let owner: OwnerID
  /// The namespace that HELLO bound the connection to.
  private(set) var namespace: Namespace?
  var machine: SessionMachine
  var transfers: [UInt64: Transfer] = [:]
  var pendingGets: [UInt64: PendingGet] = [:]
  var pendingReplies: [UInt64: PendingReply] = [:]
  /// Numbers the requests that are answered from other threads.
  var lastSerial: UInt64 = 0
  /// Puts frames together.
  var encoder = FrameEncoder()
  /// How fast this client takes bytes.
  private(set) var sendRate = SendRate()
  var decoder: FrameDecoder
  private var token: UInt64 = 0
  var payloadTransfer: Transfer?
  private var isReading = true
  private var isWriting = false
  var isClosed = false
  /// The last read took less than there was room for: the socket is empty, no need to ask again.
  var isDry = false
  var closesWhenFlushed = false
  private var chargedBytes = 0
  private var lastSentBytes: UInt64 = 0
  private var countedSentBytes: UInt64 = 0
  private var countedReceivedBytes: UInt64 = 0
  private var lastSendProgress: Instant
  private var ended: (() -> Void)?

  /// Takes over an accepted socket.
  init(owning number: Int32, context: ServerContext, now: Instant) {
    self.context = context
    link = Link(owning: number)
    owner = context.makeOwner()
    machine = SessionMachine(limits: context.limits, acceptedAt: now)
    decoder = FrameDecoder(
      maxBodyBytes: Limits.handshakeBodyBytesMax,
      maxFramePayloadBytes: context.limits.maxFramePayloadBytes)
    lastSendProgress = now
  }

  /// Begins to serve on `loop`; `ended` is called once when the session is over.
  func start(on loop: isolated Loop, ended: @escaping () -> Void) {
    self.ended = ended
    guard charge(Self.restingBytes) else {
      return refuseConnection(.busy, "bufferBytes", limit: Self.restingBytes, on: loop)
    }
    do {
      token = try loop.watch(link.number, for: self)
    } catch {
      context.log.warning("a connection cannot be watched", metadata: ["error": "\(error)"])
      close(on: loop)
    }
  }

  /// Tells the client why it is not served, then closes.
  func refuseConnection(_ status: Status, _ field: String, limit: Int, on loop: isolated Loop) {
    goAway(status, FieldFault(field, value: limit, limit: limit, "try again later"))
    _ = link.flush()
    close(on: loop)
  }

  func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
    if readable && isReading { receive(on: loop) }
    flush(on: loop)
  }

  func tick(now: Instant, on loop: isolated Loop) -> Instant {
    expireTransfers(now)
    expireGets(now, on: loop)
    expireReplies(now)
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
      pendingReplies.values.map(\.deadline).min() ?? .never)
  }

  /// Goes away when what is in flight has been answered.
  func drain(on loop: isolated Loop) {
    machine.drain()
    goAway(.draining, nil, closing: false)
    flush(on: loop)
  }

  /// Sends what waits, adjusts what the loop watches, and closes where that was due.
  func flush(on loop: isolated Loop) {
    guard !isClosed else { return }
    let isAlive = link.flush()
    countBytes()
    guard isAlive else { return close(on: loop) }
    if link.queuedBytes == 0, closesWhenFlushed || machine.isDrained && transfers.isEmpty {
      return close(on: loop)
    }
    if link.sentBytes != lastSentBytes || link.queuedBytes == 0 {
      lastSentBytes = link.sentBytes
      lastSendProgress = loop.now()
    }
    measure(loop.now())
    let mayRead = !closesWhenFlushed && link.queuedBytes < context.limits.creditBytes
    let mustWrite = link.queuedBytes > 0
    guard mayRead != isReading || mustWrite != isWriting else { return }
    loop.update(token, link.number, readable: mayRead, writable: mustWrite)
    isReading = mayRead
    isWriting = mustWrite
  }

  /// Ends the session: leases, reservations and waits of this connection end with it.
  func close(on loop: isolated Loop) {
    guard !isClosed else { return }
    isClosed = true
    loop.unwatch(token, link.number)
    for get in pendingGets.values { get.cancel(in: context.pool) }
    context.counters.countWaiting(-pendingGets.count)
    context.counters.countTransfers(-transfers.count)
    pendingGets.removeAll()
    pendingReplies.removeAll()
    transfers.removeAll()
    payloadTransfer = nil
    context.pool.ownerEnded(owner)
    context.pool.refundBuffers(chargedBytes)
    countBytes()
    ended?()
    ended = nil
  }

  // MARK: Frames

  /// Does what the machine makes of a frame.
  func handle(_ header: FrameHeader, on loop: isolated Loop) {
    payloadTransfer = nil
    let action = machine.receive(
      header, body: decoder.body, intact: decoder.bodyIsIntact, now: loop.now())
    switch action {
    case .hello(let hello, let id): welcome(hello, id, now: loop.now())
    case .execute(let request, let id, let deadline):
      context.counters.countRequest()
      execute(request, id, deadline: deadline, on: loop)
    case .data(let data, let length):
      payloadTransfer = transfers[data.transferID]
      payloadTransfer?.expect(offset: data.offset, length: length, now: loop.now())
    case .refuse(let id, let op, let status, let fault):
      sendError(id, op, Refusal(status, fault))
    case .skip: break
    case .goAway(let status, let fault): goAway(status, fault)
    }
  }

  private func welcome(_ hello: HelloRequest, _ id: UInt64, now: Instant) {
    guard
      let name = try? NamespaceName(hello.namespace),
      context.authenticator.admits(name, token: hello.token),
      let namespace = try? context.pool.namespace(name)
    else {
      context.counters.countUnauthorised()
      context.log.notice(
        "a client was not admitted", metadata: ["connection": "\(owner.number)"])
      machine.refusedHello()
      sendError(id, Operation.hello.rawValue, Refusal(.unauthorised))
      closesWhenFlushed = true
      return
    }
    self.namespace = namespace
    machine.welcomed(limits: context.limits)
    decoder.maxBodyBytes = context.limits.maxBodyBytes
    send(
      .hello(
        HelloResponse(
          limits: context.limits, links: [.tcp, .unix], namespaceGeneration: namespace.generation,
          serverID: context.serverID, server: context.serverName)), id)
  }

  // MARK: Time and memory

  private func timeout(_ now: Instant) -> FieldFault? {
    let stall = UInt64(context.limits.writeStallMilliseconds)
    if link.queuedBytes > 0, now > lastSendProgress.advanced(milliseconds: stall) {
      return FieldFault("writeStallMillis", value: stall, limit: stall, "nothing was taken")
    }
    guard transfers.isEmpty, link.queuedBytes == 0, machine.timeout(now: now) != nil else {
      return nil
    }
    return machine.timeoutFault
  }

  private func expireTransfers(_ now: Instant) {
    let patience = UInt64(context.limits.reservationTimeoutMilliseconds)
    for (id, transfer) in transfers
    where now > transfer.lastProgress.advanced(milliseconds: patience) {
      transfer.fail(
        Refusal(
          .deadline,
          FieldFault(
            "reservation", value: patience, limit: patience, "nothing arrived; given up")))
      if payloadTransfer !== transfer { endTransfer(id) }
    }
  }

  private func measure(_ now: Instant) {
    if link.queuedBytes > 0 {
      sendRate.busy(sent: link.sentBytes, now: now)
    } else {
      sendRate.idle(sent: link.sentBytes, now: now)
    }
  }

  private func countBytes() {
    context.counters.countSent(link.sentBytes - countedSentBytes)
    context.counters.countReceived(link.receivedBytes - countedReceivedBytes)
    countedSentBytes = link.sentBytes
    countedReceivedBytes = link.receivedBytes
  }

  func charge(_ bytes: Int) -> Bool {
    guard bytes > chargedBytes else { return true }
    guard context.pool.chargeBuffers(bytes - chargedBytes) else { return false }
    chargedBytes = bytes
    return true
  }

  func refundBody() {
    guard chargedBytes > Self.restingBytes, decoder.wantedControlBytes <= Self.controlReadBytes
    else { return }
    context.pool.refundBuffers(chargedBytes - Self.restingBytes)
    chargedBytes = Self.restingBytes
  }

  // MARK: Answering

  /// Says good-bye, and closes once that is out.
  func goAway(_ status: Status, _ fault: FieldFault?, closing: Bool = true) {
    var writer = ByteWriter(capacity: 192)
    let retry: UInt32 = status == .busy || status == .tooManyConnections ? 1000 : 0
    let body =
      fault.map { ErrorBody($0, retryAfterMilliseconds: retry) }
      ?? ErrorBody(retryAfterMilliseconds: retry)
    encoder.goAway(status, body, to: &writer)
    link.send(writer.bytes, isUrgent: true)
    if closing { closesWhenFlushed = true }
  }

  /// Answers a request that is being executed with an error.
  func refuse(_ id: UInt64, _ operation: Operation, _ refusal: Refusal, now: Instant) {
    sendError(id, operation.rawValue, refusal)
    machine.answered(id, now: now)
  }

  /// Answers a request that is being executed.
  func respond(_ response: Response, _ id: UInt64, now: Instant) {
    send(response, id)
    machine.answered(id, now: now)
  }

  private func send(_ response: Response, _ id: UInt64) {
    var writer = ByteWriter(capacity: 192)
    encoder.response(response, id: id, to: &writer)
    link.send(writer.bytes, isUrgent: true)
  }

  private func sendError(_ id: UInt64, _ op: UInt8, _ refusal: Refusal) {
    context.counters.countError()
    var writer = ByteWriter(capacity: 192)
    encoder.error(op, id: id, refusal.status, refusal.body, to: &writer)
    link.send(writer.bytes, isUrgent: true)
  }
}
