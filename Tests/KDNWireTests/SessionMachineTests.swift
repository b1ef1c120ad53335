import KDNCore
import KDNWire
import Testing

private let start = Instant(nanoseconds: 1_000_000_000)

private func at(milliseconds: UInt64) -> Instant { start.advanced(milliseconds: milliseconds) }

/// A machine with what a test needs to speak to it in few words.
private final class Server {
  private var machine: SessionMachine

  init(limits: Limits = Limits(), greeted: Bool = true) {
    machine = SessionMachine(limits: limits, acceptedAt: start)
    if greeted { machine.greet(now: start, limits: limits) }
  }

  var isReady: Bool { machine.isReady }
  var isDraining: Bool { machine.isDraining }
  var isDrained: Bool { machine.isDrained }
  var requestsInFlight: Int { machine.requestsInFlight }
  var openTransferBytes: Int { machine.openTransferBytes }
  var timesOutAt: Instant { machine.timesOutAt }
  var timeoutFault: FieldFault { machine.timeoutFault }

  func timeout(milliseconds: UInt64) -> Status? {
    machine.timeout(now: at(milliseconds: milliseconds))
  }

  func receive(
    _ request: Request, id: UInt64, deadline: UInt32 = 0, payload: Int = 0, flags: FrameFlags = [],
    now: Instant = start
  ) -> SessionMachine.Action {
    var body = ByteWriter()
    request.write(to: &body)
    let header = FrameHeader(
      op: request.operation.rawValue, flags: flags, requestID: id, bodyLength: body.count,
      payloadLength: payload, deadlineMilliseconds: deadline)
    return receive(header, body.bytes, now: now)
  }

  func receive(
    _ header: FrameHeader, _ body: [UInt8] = [], intact: Bool = true, now: Instant = start
  ) -> SessionMachine.Action {
    machine.receive(header, body: ByteReader(body), intact: intact, now: now)
  }

  func welcomed() { machine.welcomed(limits: Limits()) }
  func refusedHello() { machine.refusedHello() }
  func answered(_ id: UInt64, now: Instant = start) { machine.answered(id, now: now) }
  func open(_ id: UInt64, _ bytes: Int) -> Bool { machine.openTransfer(id, bytes: bytes) }
  @discardableResult
  func close(_ id: UInt64) -> Bool { machine.closeTransfer(id) }
  func drain() { machine.drain() }
  func broken(by fault: FramingFault) -> SessionMachine.Action { machine.broken(by: fault) }
}

private let ping = Request.exists(KeysRequest(keys: []))
private let data = Request.putData(PutDataRequest(transferID: 7, offset: 0))
private let begin = Request.putBegin(
  PutBeginRequest(key: ObjectKey(opaque: HashChain.opaque([1])), totalBytes: 10))

extension SessionMachine.Action {
  fileprivate var status: Status? {
    if case .refuse(_, _, let status, _) = self { status } else { nil }
  }
  fileprivate var field: String? {
    if case .refuse(_, _, _, let fault) = self { fault?.field } else { nil }
  }
}

@Suite("Session machine")
struct SessionMachineTests {
  private func hello() throws -> Request {
    .hello(HelloRequest(namespace: try NamespaceName("a"), token: "t", agent: "x"))
  }

  @Test("requests before HELLO are out of sequence, and HELLO may still follow")
  func beforeHello() throws {
    let server = Server(greeted: false)
    #expect(server.receive(ping, id: 1).status == .outOfSequence)
    #expect(server.receive(data, id: 2, payload: 5) == .skip)
    let hello = try hello()
    guard case .hello(let body, requestID: 3) = server.receive(hello, id: 3) else {
      Issue.record("HELLO was not taken")
      return
    }
    #expect(body.token == "t")
    #expect(!server.isReady)
    #expect(server.receive(ping, id: 4).status == .outOfSequence, "HELLO is not yet answered")
    #expect(server.receive(hello, id: 5).status == .outOfSequence)
    server.welcomed()
    #expect(server.isReady)
    #expect(server.receive(hello, id: 6).status == .outOfSequence, "a second HELLO")
    #expect(server.receive(ping, id: 7).isExecute)
  }

  @Test("after a refused HELLO another may be tried")
  func refusedHello() throws {
    let server = Server(greeted: false)
    _ = server.receive(try hello(), id: 1)
    server.refusedHello()
    #expect(server.receive(ping, id: 2).status == .outOfSequence)
    if case .hello = server.receive(try hello(), id: 1) {} else { Issue.record("not taken") }
  }

  @Test("a request id in use is out of sequence, and free again once answered")
  func duplicateIDs() {
    let server = Server()
    #expect(server.receive(ping, id: 5).isExecute)
    let again = server.receive(ping, id: 5)
    #expect(again.status == .outOfSequence)
    #expect(again.field == "requestID")
    #expect(server.requestsInFlight == 1)
    server.answered(5)
    #expect(server.receive(ping, id: 5).isExecute)
  }

  @Test("the id of an open transfer begins no other transfer but may name other requests")
  func transferIDs() {
    let server = Server()
    #expect(server.receive(begin, id: 7).isExecute)
    let opened = server.open(7, 10)
    #expect(opened)
    server.answered(7)
    #expect(server.receive(begin, id: 7).status == .outOfSequence)
    #expect(server.receive(ping, id: 7).isExecute)
    server.answered(7)
    let closed = server.close(7)
    #expect(closed)
    #expect(server.receive(begin, id: 7).isExecute)
  }

  @Test("requests beyond maxRequestsInFlight are over credit until one is answered")
  func inFlight() {
    var limits = Limits()
    limits.maxRequestsInFlight = 3
    let server = Server(limits: limits)
    for id in 1...3 as ClosedRange<UInt64> { #expect(server.receive(ping, id: id).isExecute) }
    #expect(server.receive(ping, id: 4).status == .overCredit)
    server.answered(2)
    #expect(server.receive(ping, id: 4).isExecute)
    #expect(server.requestsInFlight == 3)
  }

  @Test("transfers are counted by their bytes against the credit and given back when they close")
  func credit() {
    var limits = Limits()
    limits.creditBytes = 100
    let server = Server(limits: limits)
    #expect(server.open(1, 60))
    #expect(!server.open(2, 41))
    #expect(server.open(3, 40))
    #expect(!server.open(4, 1))
    #expect(server.openTransferBytes == 100)
    server.close(1)
    let twice = server.close(1)
    #expect(!twice)
    #expect(server.openTransferBytes == 40)
    #expect(!server.open(5, .max), "a sum beyond all numbers is no credit")
    #expect(server.open(6, 60))
  }

  @Test("tiny transfers are bounded in number")
  func transferCount() {
    let server = Server()
    for id in 1...UInt64(SessionMachine.transfersMax) {
      let opened = server.open(id, 1)
      #expect(opened)
    }
    let beyond = server.open(1 << 40, 1)
    #expect(!beyond)
  }

  @Test(
    "a deadline counts from arrival; 0 is the default and beyond the limit is refused",
    arguments: [(0, 30_000), (1, 1), (600_000, 600_000)] as [(UInt32, UInt64)])
  func deadlines(_ asked: UInt32, _ milliseconds: UInt64) {
    let server = Server()
    let now = at(milliseconds: 77)
    guard
      case .execute(_, requestID: 9, deadline: let deadline) = server.receive(
        ping, id: 9, deadline: asked, now: now)
    else {
      Issue.record("not executed")
      return
    }
    #expect(deadline == now.advanced(milliseconds: milliseconds))
    let beyond = server.receive(ping, id: 10, deadline: 600_001)
    #expect(beyond.status == .badRequest)
    #expect(beyond.field == "deadlineMillis")
  }

  @Test("PUT_DATA is given to its transfer with its payload and is never answered")
  func putData() {
    let server = Server()
    let body = PutDataRequest(transferID: 7, offset: 0)
    #expect(server.receive(data, id: 7, payload: 5) == .data(body, payloadLength: 5))
    #expect(server.requestsInFlight == 0)
    #expect(server.receive(data, id: 0, payload: 5) == .skip)
    #expect(server.receive(data, id: 7, payload: 5, flags: .more) == .skip)
    let header = FrameHeader(op: Operation.putData.rawValue, requestID: 7, bodyLength: 3)
    let short = server.receive(header, [1, 2, 3])
    #expect(short == .skip)
    let damaged = server.receive(
      header, [UInt8](repeating: 0, count: 16), intact: false)
    #expect(damaged == .skip)
  }

  @Test("an unknown operation is refused, and skipped without an answer if it is optional")
  func unknownOperation() {
    let server = Server()
    for op in [0, 17, 31, 40, 255] as [UInt8] {
      let header = FrameHeader(op: op, requestID: 1)
      let plain = server.receive(header)
      #expect(plain.status == .unknownOp)
      let optional = FrameHeader(op: op, flags: .optional, requestID: 1)
      let skipped = server.receive(optional)
      #expect(skipped == .skip)
    }
    #expect(server.receive(ping, id: 1, flags: .optional).isExecute)
  }

  @Test("a refused request leaves nothing in flight")
  func refusedLeavesNothing() {
    let server = Server()
    let header = FrameHeader(op: Operation.exists.rawValue, requestID: 1, bodyLength: 1)
    let action = server.receive(header, [1])
    #expect(action.status == .badRequest)
    #expect(server.requestsInFlight == 0)
    #expect(server.receive(ping, id: 1).isExecute)
  }

  @Test("while draining new requests are refused and those in flight are answered")
  func draining() {
    let server = Server()
    #expect(server.receive(ping, id: 1).isExecute)
    server.drain()
    #expect(server.isDraining)
    #expect(!server.isDrained)
    #expect(server.receive(ping, id: 2).status == .draining)
    #expect(server.receive(data, id: 3, payload: 3) == .skip)
    server.answered(1)
    #expect(server.isDrained)
  }

  @Test("while draining an open transfer may still be filled and finished")
  func drainingTransfer() {
    let server = Server()
    #expect(server.receive(begin, id: 7).isExecute)
    #expect(server.open(7, 3))
    server.answered(7)
    server.drain()
    #expect(!server.isDrained)
    #expect(
      server.receive(data, id: 8, payload: 3)
        == .data(PutDataRequest(transferID: 7, offset: 0), payloadLength: 3))
    let commit = Request.putCommit(PutCommitRequest(transferID: 7, checksum: Checksum(0)))
    #expect(server.receive(commit, id: 9).isExecute)
    #expect(server.receive(begin, id: 10).status == .draining)
    server.close(7)
    server.answered(9)
    #expect(server.isDrained)
  }

  @Test("a connection that never said HELLO is drained at once")
  func drainingUngreeted() throws {
    let server = Server(greeted: false)
    server.drain()
    #expect(server.isDrained)
    #expect(server.receive(try hello(), id: 1).status == .draining)
    server.welcomed()
    #expect(!server.isReady)
  }

  @Test("a broken stream says GOAWAY once and nothing more is taken")
  func broken() {
    let server = Server()
    let fault = FramingFault.magic(5)
    let first = server.broken(by: fault)
    #expect(first == .goAway(.badRequest, fault.fault))
    let second = server.broken(by: fault)
    #expect(second == .skip)
    #expect(server.receive(ping, id: 1) == .skip)
    #expect(server.isDrained)
  }

  @Test("HELLO that is late ends the connection, a granted one does not")
  func handshakeTimeout() throws {
    let server = Server(greeted: false)
    #expect(server.timesOutAt == at(milliseconds: 5_000))
    #expect(server.timeout(milliseconds: 4_999) == nil)
    #expect(server.timeout(milliseconds: 5_000) == .deadline)
    #expect(server.timeoutFault.field == "handshakeTimeoutMillis")
    _ = server.receive(ping, id: 1, now: at(milliseconds: 4_000))
    #expect(server.timeout(milliseconds: 5_000) == .deadline)
    _ = server.receive(try hello(), id: 1, now: at(milliseconds: 4_999))
    #expect(server.timeout(milliseconds: 5_000) == .deadline)
    server.welcomed()
    #expect(server.timeout(milliseconds: 5_000) == nil)
  }

  @Test("idle time counts from the last request or answer and not while one is in flight")
  func idleTimeout() {
    var limits = Limits()
    limits.idleTimeoutMilliseconds = 1_000
    let server = Server(limits: limits)
    #expect(server.timesOutAt == at(milliseconds: 1_000))
    #expect(server.receive(ping, id: 1, now: at(milliseconds: 900)).isExecute)
    #expect(server.timeout(milliseconds: 90_000) == nil)
    #expect(server.timesOutAt == .never)
    server.answered(1, now: at(milliseconds: 5_000))
    #expect(server.timeout(milliseconds: 5_999) == nil)
    #expect(server.timeout(milliseconds: 6_000) == .deadline)
    #expect(server.timeoutFault.limit == 1_000)
    _ = server.receive(data, id: 2, payload: 4, now: at(milliseconds: 5_990))
    #expect(server.timeout(milliseconds: 6_000) == nil)
  }
}
