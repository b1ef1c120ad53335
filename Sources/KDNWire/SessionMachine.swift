package import KDNCore

/// The server's view of one connection: what each frame means, given those before it.
///
/// Decides and does no I/O: the session gives it each frame's header and body and the time, does
/// what the action says, and tells when requests are answered and transfers end.
package struct SessionMachine: ~Copyable {
  /// What the session shall do with a frame.
  package enum Action: Equatable, Sendable {
    /// Authenticate, then call `welcomed` and answer, or `refusedHello` and answer.
    case hello(HelloRequest, requestID: UInt64)
    /// Carry out a request, answer it before `deadline`, then call `answered`.
    case execute(Request, requestID: UInt64, deadline: Instant)
    /// Give bytes to a transfer, the frame's payload or those in another place that the body names,
    /// `payloadLength` in all; skip them if the transfer is unknown or failed.
    case data(PutDataRequest, payloadLength: Int)
    /// Answer with an error and skip the frame's payload; `answered` must not be called.
    case refuse(requestID: UInt64, op: UInt8, Status, FieldFault?)
    /// Skip the frame's payload and answer nothing.
    case skip
    /// Send GOAWAY and close.
    case goAway(Status, FieldFault)
  }

  private enum State {
    case handshake
    case greeting
    case ready
    case draining
    case closed
  }

  /// Limits of the connection; the session may change them when HELLO is answered.
  package private(set) var limits: Limits
  /// Where payload may be on this connection.
  package private(set) var places: Set<PayloadPlace> = [.inline]
  private var state = State.handshake
  private var inFlight: Set<UInt64> = []
  private var transfers: [UInt64: Int] = [:]
  private var transferBytes = 0
  private let acceptedAt: Instant
  private var lastActiveAt: Instant

  /// Begins when the connection is accepted.
  package init(limits: Limits, acceptedAt now: Instant) {
    self.limits = limits
    acceptedAt = now
    lastActiveAt = now
  }

  /// Requests that wait for their answers.
  package var requestsInFlight: Int { inFlight.count }
  /// Sum of the sizes of open transfers, in bytes.
  package var openTransferBytes: Int { transferBytes }
  /// Open transfers.
  package var openTransfers: Int { transfers.count }
  /// Whether HELLO was answered well and the connection is not ending.
  package var isReady: Bool { state == .ready }
  /// Whether the connection ends once the last request in flight is answered.
  package var isDraining: Bool { state == .draining }
  /// Whether a draining connection has nothing left to answer and may be closed.
  package var isDrained: Bool {
    state == .closed || (state == .draining && inFlight.isEmpty && transfers.isEmpty)
  }

  // MARK: Events

  /// A frame has arrived; `body` is its whole body, `intact` whether its checksum is right.
  package mutating func receive(
    _ header: FrameHeader, body: ByteReader, intact: Bool, now: Instant
  ) -> Action {
    guard state != .closed else { return .skip }
    guard let operation = header.operation, operation != .goAway else {
      return refuseUnknown(header)
    }
    // PUT_DATA is never answered: what is wrong with it shows at COMMIT.
    let silent = operation == .putData
    let place = PayloadPlace(rawValue: header.place) ?? .inline
    if let (status, fault) = fault(in: header, operation, intact: intact) {
      return silent ? .skip : refuse(header, status, fault)
    }
    if let (status, fault) = refusalBySequence(header, operation) {
      return silent ? .skip : refuse(header, status, fault)
    }
    do {
      let request = try Request.decode(
        operation, body: body, limits: limits, place: place)
      lastActiveAt = max(lastActiveAt, now)
      return accept(request, header, now: now)
    } catch {
      return silent ? .skip : refuse(header, Status(refusing: error), error)
    }
  }

  /// The stream has broken; GOAWAY says why, and no frame is taken any more.
  package mutating func broken(by fault: FramingFault) -> Action {
    guard state != .closed else { return .skip }
    state = .closed
    return .goAway(.badRequest, fault.fault)
  }

  /// HELLO was granted, with `limits` for this connection and payload in these places, inline
  /// always; the session sends the answer.
  package mutating func welcomed(limits: Limits, places: Set<PayloadPlace> = [.inline]) {
    guard state == .greeting else { return }
    self.limits = limits
    self.places = places.union([.inline])
    state = .ready
  }

  /// HELLO was refused; another may be tried until the handshake times out.
  package mutating func refusedHello() {
    guard state == .greeting else { return }
    state = .handshake
  }

  /// The answer to an executed request has been formed, with or without error.
  package mutating func answered(_ requestID: UInt64, now: Instant) {
    let known = inFlight.remove(requestID) != nil
    precondition(known, "a request is answered once")
    lastActiveAt = max(lastActiveAt, now)
  }

  /// Opens the transfer of a PUT_BEGIN; false if it is beyond the connection's credit.
  package mutating func openTransfer(_ id: UInt64, bytes: Int) -> Bool {
    precondition(bytes > 0 && transfers[id] == nil, "a transfer is opened once")
    guard transfers.count < Self.transfersMax, bytes <= limits.creditBytes - transferBytes else {
      return false
    }
    transfers[id] = bytes
    transferBytes += bytes
    return true
  }

  /// A transfer is over: committed, aborted or reaped; true if it was open.
  @discardableResult
  package mutating func closeTransfer(_ id: UInt64) -> Bool {
    guard let bytes = transfers.removeValue(forKey: id) else { return false }
    transferBytes -= bytes
    return true
  }

  /// The server goes away: no new request is accepted; requests in flight are answered, and open
  /// transfers may be finished.
  package mutating func drain() {
    guard state != .closed else { return }
    state = .draining
  }

  /// The connection is closed; nothing is taken any more.
  package mutating func close() { state = .closed }

  // MARK: Time

  /// When the connection times out if nothing happens before; `never` while it may not.
  package var timesOutAt: Instant {
    switch state {
    case .handshake, .greeting:
      acceptedAt.advanced(milliseconds: UInt64(limits.handshakeTimeoutMilliseconds))
    case .ready where inFlight.isEmpty && limits.idleTimeoutMilliseconds > 0:
      lastActiveAt.advanced(milliseconds: UInt64(limits.idleTimeoutMilliseconds))
    case .ready, .draining, .closed: .never
    }
  }

  /// The status of the GOAWAY with which the connection ends now, nil if it goes on.
  package func timeout(now: Instant) -> Status? {
    timesOutAt != .never && now >= timesOutAt ? .deadline : nil
  }

  /// The field that the GOAWAY of a timeout names, with the time it allows.
  package var timeoutFault: FieldFault {
    let (field, limit) =
      state == .ready
      ? ("idleTimeoutMillis", limits.idleTimeoutMilliseconds)
      : ("handshakeTimeoutMillis", limits.handshakeTimeoutMilliseconds)
    return FieldFault(field, value: limit, limit: limit, "nothing arrived for this long")
  }

  // MARK: Decisions

  /// Most transfers of one connection, so that tiny ones cannot fill memory with their records.
  package static let transfersMax = 4096

  private mutating func accept(_ request: Request, _ header: FrameHeader, now: Instant) -> Action {
    switch request {
    case .hello(let hello):
      state = .greeting
      return .hello(hello, requestID: header.requestID)
    case .putData(let data):
      return .data(data, payloadLength: data.source.byteCount ?? header.payloadLength)
    default:
      inFlight.insert(header.requestID)
      let milliseconds =
        header.deadlineMilliseconds == 0
        ? UInt64(limits.defaultDeadlineMilliseconds) : UInt64(header.deadlineMilliseconds)
      return .execute(
        request, requestID: header.requestID, deadline: now.advanced(milliseconds: milliseconds))
    }
  }

  private func refuseUnknown(_ header: FrameHeader) -> Action {
    guard !header.flags.contains(.optional) else { return .skip }
    let fault = FieldFault("op", value: UInt64(header.op), limit: 0, "unknown operation")
    return refuse(header, .unknownOp, fault)
  }

  private func refuse(_ header: FrameHeader, _ status: Status, _ fault: FieldFault) -> Action {
    .refuse(requestID: header.requestID, op: header.op, status, fault)
  }

  private func refusalBySequence(
    _ header: FrameHeader, _ operation: Operation
  ) -> (Status, FieldFault)? {
    func refusal(
      _ status: Status, _ field: String, _ value: UInt64, _ limit: Int, _ problem: String
    ) -> (Status, FieldFault) {
      (status, FieldFault(field, value: value, limit: UInt64(clamping: limit), problem))
    }
    let op = UInt64(header.op)
    switch state {
    case .draining where operation == .putData && !transfers.isEmpty: return nil
    case .draining where operation.endsTransfer && !transfers.isEmpty: break
    case .closed, .draining:
      return refusal(.draining, "op", op, 0, "the server is going away")
    case .handshake where operation != .hello:
      return refusal(.outOfSequence, "op", op, 1, "HELLO comes first")
    case .handshake: return nil
    case .greeting: return refusal(.outOfSequence, "op", op, 0, "HELLO is not yet answered")
    case .ready where operation == .hello:
      return refusal(.outOfSequence, "op", op, 0, "HELLO comes once")
    case .ready where operation == .putData: return nil
    case .ready: break
    }
    guard !operation.isOfSharedMemory || places.contains(.sharedMemory) else {
      let place = UInt64(PayloadPlace.sharedMemory.rawValue)
      return refusal(.unsupported, "place", place, 0, "not for this connection")
    }
    let id = header.requestID
    guard !inFlight.contains(id), operation != .putBegin || transfers[id] == nil else {
      return refusal(.outOfSequence, "requestID", id, 0, "is in use")
    }
    guard inFlight.count < limits.maxRequestsInFlight else {
      return refusal(
        .overCredit, "maxRequestsInFlight", UInt64(inFlight.count), limits.maxRequestsInFlight,
        "too many requests in flight")
    }
    guard header.deadlineMilliseconds <= UInt64(limits.maxDeadlineMilliseconds) else {
      return refusal(
        .badRequest, "deadlineMillis", UInt64(header.deadlineMilliseconds),
        limits.maxDeadlineMilliseconds, "longer than HELLO allows")
    }
    return nil
  }
}

extension Operation {
  /// Whether the operation ends a transfer that PUT_BEGIN opened.
  fileprivate var endsTransfer: Bool { self == .putCommit || self == .putAbort }
  /// Whether the operation hands out shared memory.
  fileprivate var isOfSharedMemory: Bool { self == .mapSlab || self == .openWindow }
}
