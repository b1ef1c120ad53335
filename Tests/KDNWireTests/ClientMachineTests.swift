import KDNCore
import KDNWire
import Testing

/// A client machine and a server that says whatever a test wants.
private final class Client {
  private var machine = ClientMachine()

  var isReady: Bool { machine.isReady }
  var limits: Limits { machine.limits }
  var requestsInFlight: Int { machine.requestsInFlight }

  func begin(_ operation: Operation, answerCount: Int = 0) -> UInt64? {
    machine.begin(operation, answerCount: answerCount)
  }

  func begin(_ request: Request) -> UInt64? { machine.begin(request) }

  func receive(_ header: FrameHeader, intact: Bool = true) throws -> ClientMachine.Event {
    try machine.receive(header, body: ByteReader([]), intact: intact)
  }

  init(greeted: Bool = true, limits: Limits = Limits()) throws {
    guard greeted else { return }
    let id = try #require(begin(.hello))
    _ = try answer(.hello(welcome(limits)), id: id)
  }

  func answer(
    _ response: Response, id: UInt64, more: Bool = false, payload: Int = 0
  ) throws -> ClientMachine.Event {
    var writer = ByteWriter()
    var encoder = FrameEncoder()
    encoder.response(response, id: id, more: more, payloadLength: payload, to: &writer)
    return try receive(writer.bytes)
  }

  func payload(id: UInt64, more: Bool, _ count: Int) throws -> ClientMachine.Event {
    var writer = ByteWriter()
    var encoder = FrameEncoder()
    encoder.continuation(id: id, more: more, payloadLength: count, to: &writer)
    return try receive(writer.bytes)
  }

  func error(
    _ operation: Operation, id: UInt64, _ status: Status
  ) throws -> ClientMachine.Event {
    var writer = ByteWriter()
    var encoder = FrameEncoder()
    encoder.error(operation.rawValue, id: id, status, ErrorBody(message: "no"), to: &writer)
    return try receive(writer.bytes)
  }

  func receive(_ bytes: [UInt8]) throws -> ClientMachine.Event {
    var decoder = FrameDecoder(maxBodyBytes: 1 << 20)
    decoder.append(bytes.span)
    let header = try #require(try decoder.nextFrame())
    return try machine.receive(header, body: decoder.body, intact: decoder.bodyIsIntact)
  }
}

private func welcome(_ limits: Limits = Limits()) -> HelloResponse {
  HelloResponse(
    limits: limits, links: .tcp, namespaceGeneration: 1,
    serverID: [UInt8](repeating: 9, count: 16), server: "kdnd")
}

private func hit(_ bytes: Int) -> GetDescriptor {
  GetDescriptor(
    objectBytes: bytes, sentBytes: bytes, objectChecksum: Checksum(1), sentChecksum: Checksum(1))
}

private func got(_ rows: GetDescriptor...) -> Response {
  .get(GetResponse(descriptors: rows))
}

@Suite("Client machine")
struct ClientMachineTests {
  /// Runs `body` and gives the protocol fault that it ends with.
  private func fault(_ body: () throws -> Void) -> ClientProtocolFault? {
    #expect(throws: ClientProtocolFault.self, performing: body)
  }

  @Test("HELLO comes first and once, and brings the limits")
  func hello() throws {
    let client = try Client(greeted: false)
    #expect(client.begin(.exists) == nil)
    let id = try #require(client.begin(.hello))
    #expect(client.begin(.hello) == nil)
    #expect(client.begin(.exists) == nil, "HELLO is not yet answered")
    var limits = Limits()
    limits.maxRequestsInFlight = 2
    let event = try client.answer(.hello(welcome(limits)), id: id)
    #expect(event == .response(requestID: id, .hello(welcome(limits))))
    #expect(client.limits.maxRequestsInFlight == 2)
    #expect(client.isReady)
    #expect(client.begin(.hello) == nil)
    let first = client.begin(.exists)
    let second = client.begin(.exists)
    #expect(first != nil && second != nil && first != second)
    #expect(client.begin(.exists) == nil, "no more than the server allows")
  }

  @Test("after a refused HELLO another may be tried")
  func refusedHello() throws {
    let client = try Client(greeted: false)
    let id = try #require(client.begin(.hello))
    let event = try client.error(.hello, id: id, .unauthorised)
    #expect(event == .refused(requestID: id, .hello, .unauthorised, ErrorBody(message: "no")))
    #expect(client.begin(.hello) != nil)
  }

  @Test("answers come in any order and each ends its request")
  func outOfOrder() throws {
    let client = try Client()
    let first = try #require(client.begin(.release))
    let second = try #require(client.begin(.touch))
    #expect(
      try client.answer(.touch(TouchResponse(touched: 1)), id: second)
        == .response(requestID: second, .touch(TouchResponse(touched: 1))))
    #expect(try client.answer(.release, id: first) == .response(requestID: first, .release))
    #expect(client.requestsInFlight == 0)
    let found = fault { _ = try client.answer(.release, id: first) }
    #expect(found == .unknownRequest(requestID: first, op: 10))
    #expect(client.begin(.touch) == nil, "a fault ends the connection")
  }

  @Test("an answer to another operation than was asked for is a fault")
  func wrongOperation() throws {
    let client = try Client()
    let id = try #require(client.begin(.release))
    let found = fault { _ = try client.answer(.putAbort, id: id) }
    #expect(found == .wrongOperation(requestID: id, asked: .release, answered: 9))
    #expect(client.requestsInFlight == 0)
  }

  @Test("counts that do not fit the request are faults")
  func counts() throws {
    func check(
      _ operation: Operation, _ count: Int, _ response: Response, _ field: String
    ) throws {
      let client = try Client()
      let id = try #require(client.begin(operation, answerCount: count))
      let found = fault { _ = try client.answer(response, id: id) }
      #expect(found?.fault.field == field)
    }
    try check(.exists, 2, .exists(ExistsResponse(present: Bitmap(count: 3))), "count")
    try check(.pin, 9, .pin(PinResponse(changed: Bitmap(count: 8))), "bodyLength")
    try check(.get, 2, got(hit(1)), "count")
    let match = MatchResponse(
      matchedChunks: 3, miss: nil, tiers: .init(ram: 3), matchedBytes: 1)
    try check(.match, 2, .match(match), "matchedChunks")
    try check(.match, 4, .match(match), "missCause")
  }

  @Test("a GET in one frame announces its payload and is over")
  func getInOneFrame() throws {
    let client = try Client()
    let id = try #require(client.begin(.get, answerCount: 2))
    let rows = [hit(10), GetDescriptor(miss: .evicted)]
    let event = try client.answer(.get(GetResponse(descriptors: rows)), id: id, payload: 10)
    #expect(event == .items(requestID: id, rows, payloadLength: 10, last: true))
    #expect(client.requestsInFlight == 0)
  }

  @Test("a GET without any hit is a whole answer")
  func getOfMisses() throws {
    let client = try Client()
    let id = try #require(client.begin(.get, answerCount: 1))
    let answer = got(GetDescriptor(miss: .neverStored))
    #expect(try client.answer(answer, id: id) == .response(requestID: id, answer))
  }

  @Test("a GET over several frames is over when the announced bytes are")
  func getInFrames() throws {
    let client = try Client()
    let id = try #require(client.begin(.get, answerCount: 1))
    let first = try client.answer(got(hit(100)), id: id, more: true, payload: 60)
    #expect(first == .items(requestID: id, [hit(100)], payloadLength: 60, last: false))
    let other = try #require(client.begin(.release))
    #expect(try client.answer(.release, id: other) == .response(requestID: other, .release))
    #expect(
      try client.payload(id: id, more: true, 30)
        == .payload(requestID: id, payloadLength: 30, last: false))
    #expect(client.requestsInFlight == 1)
    #expect(
      try client.payload(id: id, more: false, 10)
        == .payload(requestID: id, payloadLength: 10, last: true))
    #expect(client.requestsInFlight == 0)
  }

  @Test(
    "payload that is more or less than announced is a fault",
    arguments: [(99, false), (101, false), (100, true), (101, true)])
  func payloadMismatch(_ count: Int, _ more: Bool) throws {
    let client = try Client()
    let id = try #require(client.begin(.get, answerCount: 1))
    let found = fault { _ = try client.answer(got(hit(100)), id: id, more: more, payload: count) }
    #expect(found == .payload(requestID: id, found: count, announced: 100))
  }

  @Test(
    "further frames that bring nothing, too much or too little are faults",
    arguments: [(0, true), (40, true), (41, false), (39, false), (0, false)])
  func continuationMismatch(_ count: Int, _ more: Bool) throws {
    let client = try Client()
    let id = try #require(client.begin(.get, answerCount: 1))
    _ = try client.answer(got(hit(100)), id: id, more: true, payload: 60)
    let found = fault { _ = try client.payload(id: id, more: more, count) }
    #expect(found == .payload(requestID: id, found: count, announced: 40))
  }

  @Test("a GET may be refused between its frames")
  func getRefusedLate() throws {
    let client = try Client()
    let id = try #require(client.begin(.get, answerCount: 1))
    _ = try client.answer(got(hit(100)), id: id, more: true, payload: 60)
    let event = try client.error(.get, id: id, .internal)
    #expect(event == .refused(requestID: id, .get, .internal, ErrorBody(message: "no")))
    #expect(client.requestsInFlight == 0)
  }

  @Test("descriptors whose sum no number holds are a fault")
  func sumOverflows() throws {
    let client = try Client()
    let id = try #require(client.begin(.get, answerCount: 2))
    let found = fault {
      _ = try client.answer(got(hit(.max), hit(1)), id: id, more: true, payload: 1)
    }
    #expect(found?.fault.field == "sentBytes")
  }

  @Test("GOAWAY stops new requests while those that wait are answered")
  func goAway() throws {
    let client = try Client()
    let id = try #require(client.begin(.release))
    let event = try client.error(.goAway, id: 0, .draining)
    #expect(event == .goAway(.draining, ErrorBody(message: "no")))
    #expect(client.begin(.release) == nil)
    #expect(try client.answer(.release, id: id) == .response(requestID: id, .release))
  }

  @Test("headers that no server sends are faults")
  func headers() throws {
    func check(
      _ field: String, _ change: (inout FrameHeader) -> Void
    ) throws {
      let client = try Client()
      let id = try #require(client.begin(.release))
      var header = FrameHeader(op: 10, flags: .response, requestID: id)
      change(&header)
      let found = fault {
        _ = try client.receive(header)
      }
      #expect(found?.fault.field == field)
    }
    try check("flags") { $0.flags = [] }
    try check("flags") { $0.flags = [.response, .more] }
    try check("flags") { $0.flags = [.response, FrameFlags(rawValue: 8)] }
    try check("place") { $0.place = 1 }
    try check("status") { $0.status = 19 }
    try check("payloadLength") { $0.payloadLength = 1 }
    try check("requestID") { $0.requestID = 77 }
    try check("op") { $0.op = 200 }
    try check("requestID") { ($0.op, $0.status) = (17, 9) }
    try check("status") { ($0.op, $0.requestID) = (17, 0) }
    try check("bodyLength") { $0.status = 1 }
  }

  @Test("a damaged body is a fault, and an optional unknown frame is skipped")
  func damage() throws {
    let client = try Client()
    let id = try #require(client.begin(.release))
    let unknown = FrameHeader(op: 200, flags: [.response, .optional], requestID: 0)
    let skipped = try client.receive(unknown)
    #expect(skipped == .skip)
    let found = fault {
      _ = try client.receive(
        FrameHeader(op: 10, flags: .response, requestID: id), intact: false)
    }
    #expect(found == .damagedBody(requestID: id, op: 10))
  }

  @Test("begin takes the number of answers from the request")
  func answerCounts() throws {
    let keys = [ObjectKey(opaque: HashChain.opaque([1])), ObjectKey(opaque: HashChain.opaque([2]))]
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    #expect(Request.exists(KeysRequest(keys: keys)).answerCount == 2)
    #expect(Request.pin(PinRequest(keys: keys, ttlMilliseconds: 1)).answerCount == 2)
    #expect(Request.unpin(KeysRequest(keys: keys)).answerCount == 2)
    #expect(Request.touch(KeysRequest(keys: keys)).answerCount == 0)
    let get = GetRequest(items: keys.map { GetRequest.Item(key: $0) })
    #expect(Request.get(get).answerCount == 2)
    let match = MatchRequest(hashes: keys.map(\.hash), parts: [part], layout: .none)
    #expect(Request.match(match).answerCount == 2)
    let client = try Client()
    let id = try #require(client.begin(.exists(KeysRequest(keys: keys))))
    let answer = Response.exists(ExistsResponse(present: Bitmap([true, false])))
    #expect(try client.answer(answer, id: id) == .response(requestID: id, answer))
  }
}
