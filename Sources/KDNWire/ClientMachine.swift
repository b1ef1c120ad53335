package import KDNCore

/// The client's view of one connection: which requests wait, and what each frame answers.
///
/// Decides and does no I/O. The server is not trusted: whatever does not fit a request that waits
/// is a typed fault, after which the connection must be closed and its answers dropped.
package struct ClientMachine: ~Copyable {
  /// What a frame from the server says.
  package enum Event: Equatable, Sendable {
    /// A whole answer with status ok; of GET or of CODEC_PROFILE for bytes, an answer without any
    /// payload to come: nothing was found, or the bytes are in another place than inline.
    case response(requestID: UInt64, Response)
    /// The first frame of a GET's answer: descriptors, then `payloadLength` bytes of payload in
    /// this frame; `last` if no more frames follow.
    case items(requestID: UInt64, [GetDescriptor], payloadLength: Int, last: Bool)
    /// A further frame of a GET's answer, with `payloadLength` bytes of payload.
    case payload(requestID: UInt64, payloadLength: Int, last: Bool)
    /// The request was refused; a GET may be refused after some of its frames.
    case refused(requestID: UInt64, Operation, Status, ErrorBody)
    /// The server goes away; no request may be begun any more.
    case goAway(Status, ErrorBody)
    /// A frame to be skipped with its payload.
    case skip
  }

  private enum State {
    case fresh
    case greeting
    case ready
    case leaving
    case closed
  }

  private struct Pending {
    let operation: Operation
    /// How many answers the request asked for.
    let count: Int
    /// Where its payload is wanted.
    let place: PayloadPlace
    /// Payload bytes still to come, nil before the descriptors have.
    var payloadRemaining: Int?

    /// Whether the answer has descriptors and payload behind them.
    var bearsPayload: Bool {
      place == .inline && (operation == .get || (operation == .codecProfile && count > 0))
    }

    /// The whole answer, where descriptors announce no payload.
    func answer(_ answer: GetResponse) -> Response {
      operation == .get ? .get(answer) : .codecProfile(.described(answer))
    }
  }

  /// Limits that the server granted, defaults before HELLO is answered.
  package private(set) var limits = Limits()
  private var state = State.fresh
  private var pending: [UInt64: Pending] = [:]
  private var nextID: UInt64 = 1

  /// Begins when the connection is made.
  package init() {}

  /// Requests that wait for their answers.
  package var requestsInFlight: Int { pending.count }
  /// Whether HELLO was answered well and the server is not going away.
  package var isReady: Bool { state == .ready }
  /// Whether another request may be begun now.
  package var hasRoom: Bool {
    switch state {
    case .fresh: true
    case .ready: pending.count < limits.maxRequestsInFlight
    case .greeting, .leaving, .closed: false
    }
  }

  /// Begins a request and gives it an id; nil if it may not be sent now: HELLO must come first and
  /// once, no more than `maxRequestsInFlight` may wait, and a server that goes away takes none.
  ///
  /// PUT_DATA has no answer and is not begun: its frames carry the transfer's id.
  package mutating func begin(_ request: Request) -> UInt64? {
    begin(request.operation, answerCount: request.answerCount, place: request.place)
  }

  /// Begins a request of `operation` that asks for `answerCount` answers, with the payload in
  /// `place`; see `begin(_:)`.
  package mutating func begin(
    _ operation: Operation, answerCount: Int = 0, place: PayloadPlace = .inline
  ) -> UInt64? {
    precondition(operation != .putData && operation != .goAway, "not a request with an answer")
    guard hasRoom, (operation == .hello) == (state == .fresh) else { return nil }
    if operation == .hello { state = .greeting }
    let id = nextID
    nextID += 1
    pending[id] = Pending(operation: operation, count: answerCount, place: place)
    return id
  }

  /// A frame has arrived; `body` is its whole body, `intact` whether its checksum is right.
  ///
  /// - Throws: a fault that costs the connection; nothing may be received after it.
  package mutating func receive(
    _ header: FrameHeader, body: ByteReader, intact: Bool
  ) throws(ClientProtocolFault) -> Event {
    do {
      return try event(header, body: body, intact: intact)
    } catch {
      close()
      throw error
    }
  }

  /// The connection is closed: no answer comes any more, and nothing may be begun.
  package mutating func close() {
    state = .closed
    pending.removeAll()
  }

  // MARK: Decisions

  private mutating func event(
    _ header: FrameHeader, body: ByteReader, intact: Bool
  ) throws(ClientProtocolFault) -> Event {
    guard state != .closed else {
      throw .unknownRequest(requestID: header.requestID, op: header.op)
    }
    if header.operation == nil, header.flags.contains(.optional) { return .skip }
    try Self.check(header)
    guard intact else { throw .damagedBody(requestID: header.requestID, op: header.op) }
    guard let status = Status(rawValue: header.status) else {
      throw .header(
        FieldFault("status", value: UInt64(header.status), limit: 16, "unknown status"))
    }
    if header.operation == .goAway {
      try Self.check(header, isAt: .inline)
      return try goAway(header, status, body)
    }
    let id = header.requestID
    guard let waiting = pending[id] else { throw .unknownRequest(requestID: id, op: header.op) }
    guard waiting.operation == header.operation else {
      throw .wrongOperation(requestID: id, asked: waiting.operation, answered: header.op)
    }
    try Self.check(header, isAt: status == .ok ? waiting.place : .inline)
    guard status == .ok else { return try refused(header, waiting.operation, status, body) }
    guard waiting.bearsPayload else {
      try Self.checkBare(header)
      return try response(header, waiting, body)
    }
    return try get(header, waiting, body)
  }

  private static func check(_ header: FrameHeader) throws(ClientProtocolFault) {
    guard header.flags.contains(.response),
      header.flags.isSubset(of: [.response, .more, .optional])
    else {
      throw .header(
        FieldFault(
          "flags", value: UInt64(header.flags.rawValue), limit: 7, "not the flags of an answer"))
    }
    guard header.reserved == 0 else {
      throw .header(FieldFault("reserved", value: header.reserved, limit: 0, "must be zero"))
    }
    let mayBear = header.operation == .get || header.operation == .codecProfile
    if header.status != 0 || !mayBear || header.place != 0 { try checkBare(header) }
  }

  /// The frame must be the whole answer, without payload.
  private static func checkBare(_ header: FrameHeader) throws(ClientProtocolFault) {
    guard header.payloadLength == 0 else {
      throw .payload(requestID: header.requestID, found: header.payloadLength, announced: 0)
    }
    guard !header.flags.contains(.more) else {
      throw .header(
        FieldFault("flags", value: 4, limit: 1, "only inline payload comes in more frames"))
    }
  }

  private static func check(
    _ header: FrameHeader, isAt place: PayloadPlace
  ) throws(ClientProtocolFault) {
    guard header.place == place.rawValue else {
      throw .header(
        FieldFault(
          "place", value: UInt64(header.place), limit: UInt64(place.rawValue),
          "another place than was asked for"))
    }
  }

  private mutating func goAway(
    _ header: FrameHeader, _ status: Status, _ body: ByteReader
  ) throws(ClientProtocolFault) -> Event {
    guard header.requestID == 0 else {
      throw .header(
        FieldFault("requestID", value: header.requestID, limit: 0, "GOAWAY answers no request"))
    }
    guard status != .ok else {
      throw .header(FieldFault("status", value: 0, limit: 1, "GOAWAY says why"))
    }
    let error = try Self.error(header, .goAway, body)
    state = .leaving
    return .goAway(status, error)
  }

  private mutating func refused(
    _ header: FrameHeader, _ operation: Operation, _ status: Status, _ body: ByteReader
  ) throws(ClientProtocolFault) -> Event {
    let error = try Self.error(header, operation, body)
    end(header.requestID)
    if operation == .hello, state == .greeting { state = .fresh }
    return .refused(requestID: header.requestID, operation, status, error)
  }

  private mutating func response(
    _ header: FrameHeader, _ waiting: Pending, _ body: ByteReader
  ) throws(ClientProtocolFault) -> Event {
    let response: Response
    do {
      response = try Response.decode(
        waiting.operation, body: body, count: waiting.count, place: waiting.place)
    } catch {
      throw .body(requestID: header.requestID, waiting.operation, error)
    }
    end(header.requestID)
    if case .hello(let hello) = response, state == .greeting {
      limits = hello.limits
      state = .ready
    }
    return .response(requestID: header.requestID, response)
  }

  private mutating func get(
    _ header: FrameHeader, _ waiting: Pending, _ body: ByteReader
  ) throws(ClientProtocolFault) -> Event {
    let id = header.requestID
    let last = !header.flags.contains(.more)
    guard let remaining = waiting.payloadRemaining else {
      let answer = try Self.descriptors(id, body, waiting)
      let announced = answer.sentBytes ?? .max
      try account(header, announced: announced, last: last)
      return announced == 0
        ? .response(requestID: id, waiting.answer(answer))
        : .items(
          requestID: id, answer.descriptors, payloadLength: header.payloadLength, last: last)
    }
    guard header.bodyLength == 0 else {
      let fault = FieldFault(
        "bodyLength", value: header.bodyLength, limit: 0, "a further frame has no body")
      throw .body(requestID: id, waiting.operation, fault)
    }
    // A frame that brings nothing could be repeated for ever.
    guard header.payloadLength > 0 else {
      throw .payload(requestID: id, found: 0, announced: remaining)
    }
    try account(header, announced: remaining, last: last)
    return .payload(requestID: id, payloadLength: header.payloadLength, last: last)
  }

  private mutating func account(
    _ header: FrameHeader, announced: Int, last: Bool
  ) throws(ClientProtocolFault) {
    let remaining = announced - header.payloadLength
    guard last ? remaining == 0 : remaining > 0 else {
      throw .payload(
        requestID: header.requestID, found: header.payloadLength, announced: announced)
    }
    if last {
      end(header.requestID)
    } else {
      pending[header.requestID]?.payloadRemaining = remaining
    }
  }

  private mutating func end(_ requestID: UInt64) { pending[requestID] = nil }

  private static func descriptors(
    _ requestID: UInt64, _ body: ByteReader, _ waiting: Pending
  ) throws(ClientProtocolFault) -> GetResponse {
    var reader = body
    do {
      return try GetResponse(from: &reader, count: waiting.count)
    } catch {
      throw .body(requestID: requestID, waiting.operation, error)
    }
  }

  private static func error(
    _ header: FrameHeader, _ operation: Operation, _ body: ByteReader
  ) throws(ClientProtocolFault) -> ErrorBody {
    var reader = body
    do {
      return try ErrorBody(from: &reader)
    } catch {
      throw .body(requestID: header.requestID, operation, error)
    }
  }
}
