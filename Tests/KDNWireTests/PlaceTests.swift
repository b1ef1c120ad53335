import KDNCore
import KDNWire
import Testing

private let now = Instant(nanoseconds: 1_000_000_000)
private let item = GetRequest.Item(key: ObjectKey(opaque: HashChain.opaque([1])))
private let region = RemoteRegion(address: 4096, key: 7, byteCount: 64)

/// A machine of the server whose connection grants `places`.
private final class Server {
  private var machine: SessionMachine

  init(places: Set<PayloadPlace>, limits: Limits = Limits()) {
    machine = SessionMachine(limits: limits, acceptedAt: now)
    machine.greet(now: now, limits: limits, places: places)
  }

  var places: Set<PayloadPlace> { machine.places }
  var requestsInFlight: Int { machine.requestsInFlight }

  func receive(_ request: Request, payload: Int = 0, place: UInt8? = nil) -> SessionMachine.Action {
    var body = ByteWriter()
    request.write(to: &body)
    let header = FrameHeader(
      op: request.operation.rawValue, requestID: 9, bodyLength: body.count,
      place: place ?? request.place.rawValue, payloadLength: payload)
    return machine.receive(header, body: ByteReader(body.bytes), intact: true, now: now)
  }
}

/// A client machine that was greeted, and answers by their bytes.
private final class Client {
  private var machine = ClientMachine()

  init() throws {
    let first = machine.begin(.hello)
    let id = try #require(first)
    let hello = HelloResponse(
      limits: Limits(), links: [.unix, .sharedMemory], namespaceGeneration: 1,
      serverID: [UInt8](repeating: 9, count: 16), server: "kdnd")
    _ = try receive(.hello(hello), id: id)
  }

  func begin(_ request: Request) -> UInt64? { machine.begin(request) }

  func receive(
    _ response: Response, id: UInt64, change: (inout FrameHeader) -> Void = { _ in }
  ) throws -> ClientMachine.Event {
    var body = ByteWriter()
    response.write(to: &body)
    var header = FrameHeader(
      op: response.operation.rawValue, flags: .response, requestID: id, bodyLength: body.count,
      place: response.place.rawValue)
    change(&header)
    return try machine.receive(header, body: ByteReader(body.bytes), intact: true)
  }

  func refuse(_ operation: Operation, id: UInt64, place: UInt8) throws -> ClientMachine.Event {
    var body = ByteWriter()
    ErrorBody(message: "no").write(to: &body)
    let header = FrameHeader(
      op: operation.rawValue, flags: .response, requestID: id, bodyLength: body.count,
      status: Status.busy.rawValue, place: place)
    return try machine.receive(header, body: ByteReader(body.bytes), intact: true)
  }
}

private func hit(_ bytes: Int) -> GetDescriptor {
  GetDescriptor(
    objectBytes: bytes, sentBytes: bytes, objectChecksum: Checksum(1), sentChecksum: Checksum(1))
}

private func get(_ place: GetPlace) -> Request { .get(GetRequest(items: [item], place: place)) }

private let leased = InPlaceAnswer(
  leaseID: InPlaceAnswer.leaseBit | 1, leaseMilliseconds: 5,
  hits: [SlabExtents(slabID: 3, extents: [0..<6, 100..<104])])

extension SessionMachine.Action {
  fileprivate var refusal: (Status, String)? {
    guard case .refuse(_, _, let status, let fault) = self else { return nil }
    return (status, fault?.field ?? "")
  }
}

@Suite("Places of payload, as the server sees them")
struct ServerPlaceTests {
  private let requests: [(Request, PayloadPlace)] = [
    (get(.inline), .inline), (get(.sharedMemory(leaseMilliseconds: 0)), .sharedMemory),
    (get(.remote([region])), .remote),
  ]

  @Test(
    "a GET is executed where its place is granted, and unsupported elsewhere",
    arguments: [[], [.sharedMemory], [.remote], [.sharedMemory, .remote]] as [Set<PayloadPlace>])
  func getWhereGranted(_ granted: Set<PayloadPlace>) {
    for (request, place) in requests {
      let server = Server(places: granted)
      #expect(server.places == granted.union([.inline]))
      let action = server.receive(request)
      #expect(action.isExecute == server.places.contains(place))
      #expect(server.requestsInFlight == (action.isExecute ? 1 : 0))
      guard let (status, field) = action.refusal else { continue }
      #expect(status == .unsupported)
      #expect(field == "place")
    }
  }

  @Test("a frame whose payload is elsewhere has none in the stream", arguments: [1, 4096])
  func payloadElsewhere(_ count: Int) {
    let server = Server(places: [.sharedMemory, .remote])
    for (request, place) in requests where place != .inline {
      let refusal = server.receive(request, payload: count).refusal
      #expect(refusal?.0 == .badRequest)
      #expect(refusal?.1 == "payloadLength")
    }
    let window = PutDataRequest(
      transferID: 7, offset: 0, source: .window(offset: 0, byteCount: count))
    #expect(server.receive(.putData(window), payload: count) == .skip)
  }

  @Test("PUT_DATA from another place is given on with the bytes it names")
  func putData() {
    let server = Server(places: [.sharedMemory, .remote])
    let window = PutDataRequest(
      transferID: 7, offset: 10, source: .window(offset: 4096, byteCount: 5))
    #expect(server.receive(.putData(window)) == .data(window, payloadLength: 5))
    let remote = PutDataRequest(transferID: 7, offset: 10, source: .remote(region))
    #expect(server.receive(.putData(remote)) == .data(remote, payloadLength: 64))
    #expect(server.requestsInFlight == 0)
    let plain = Server(places: [])
    #expect(plain.receive(.putData(window)) == .skip)
    #expect(plain.receive(.putData(remote)) == .skip)
  }

  @Test("PUT_DATA that names no bytes, too many or bytes beyond counting is skipped")
  func putDataBeyond() {
    var limits = Limits()
    limits.maxFramePayloadBytes = 100
    limits.maxObjectBytes = 1000
    let server = Server(places: [.sharedMemory, .remote], limits: limits)
    func skips(_ source: PutSource) -> Bool {
      server.receive(.putData(PutDataRequest(transferID: 7, offset: 0, source: source))) == .skip
    }
    #expect(!skips(.window(offset: 0, byteCount: 100)))
    #expect(skips(.window(offset: 0, byteCount: 101)))
    #expect(skips(.window(offset: 0, byteCount: 0)))
    #expect(skips(.window(offset: .max, byteCount: 1)))
    #expect(!skips(.window(offset: .max - 1, byteCount: 1)))
    #expect(!skips(.remote(RemoteRegion(address: 0, key: 0, byteCount: 1000))))
    #expect(skips(.remote(RemoteRegion(address: 0, key: 0, byteCount: 1001))))
    #expect(skips(.remote(RemoteRegion(address: 0, key: 0, byteCount: 0))))
    #expect(skips(.remote(RemoteRegion(address: .max, key: 0, byteCount: 1))))
  }

  @Test("a body of one place in a frame of another is refused", arguments: [0, 1, 2] as [UInt8])
  func bodyOfAnotherPlace(_ place: UInt8) {
    for (request, own) in requests where own.rawValue != place {
      let server = Server(places: [.sharedMemory, .remote])
      let refusal = server.receive(request, place: place).refusal
      #expect(refusal?.0 == .badRequest)
      #expect(refusal?.1 == "bodyLength")
    }
  }

  @Test("shared memory is handed out only where it is granted")
  func handingOut() {
    let asks: [Request] = [
      .mapSlab(MapSlabRequest(slabID: 1)), .openWindow(OpenWindowRequest(byteCount: 4096)),
    ]
    for request in asks {
      #expect(Server(places: [.sharedMemory]).receive(request).isExecute)
      let refusal = Server(places: [.remote]).receive(request).refusal
      #expect(refusal?.0 == .unsupported)
      #expect(refusal?.1 == "place")
    }
    #expect(Server(places: []).receive(.linkTicket(LinkTicketRequest())).isExecute)
  }

  @Test("before HELLO nothing is handed out, and no place is granted")
  func beforeHello() {
    var machine = SessionMachine(limits: Limits(), acceptedAt: now)
    let map = FrameHeader(op: Operation.mapSlab.rawValue, requestID: 1, bodyLength: 8)
    let asked = machine.receive(
      map, body: ByteReader([UInt8](repeating: 0, count: 8)), intact: true, now: now)
    #expect(asked.refusal?.0 == .outOfSequence)
    let elsewhere = FrameHeader(op: Operation.get.rawValue, requestID: 1, place: 1)
    let got = machine.receive(elsewhere, body: ByteReader([]), intact: true, now: now)
    #expect(got.refusal?.0 == .unsupported)
  }
}

@Suite("Places of payload, as the client sees them")
struct ClientPlaceTests {
  private func fault(_ body: () throws -> Void) -> ClientProtocolFault? {
    #expect(throws: ClientProtocolFault.self, performing: body)
  }

  private let answers: [(GetPlace, Response)] = [
    (
      .sharedMemory(leaseMilliseconds: 0),
      .get(GetResponse(descriptors: [hit(10)], inPlace: leased))
    ),
    (.remote([region]), .get(GetResponse(descriptors: [hit(10)], place: .remote))),
  ]

  @Test("an answer whose bytes are elsewhere is whole at once")
  func whole() throws {
    for (place, answer) in answers {
      let client = try Client()
      let id = try #require(client.begin(get(place)))
      #expect(try client.receive(answer, id: id) == .response(requestID: id, answer))
      let again = fault { _ = try client.receive(answer, id: id) }
      #expect(again?.fault.field == "requestID")
    }
  }

  @Test(
    "an answer at another place than was asked for is a fault", arguments: [0, 1, 2] as [UInt8])
  func anotherPlace(_ place: UInt8) throws {
    for (asked, answer) in answers where asked.kind.rawValue != place {
      let client = try Client()
      let id = try #require(client.begin(get(asked)))
      let found = fault { _ = try client.receive(answer, id: id) { $0.place = place } }
      #expect(found?.fault.field == "place")
      #expect(found?.fault.value == UInt64(place))
    }
    guard place != 0 else { return }
    let client = try Client()
    let id = try #require(client.begin(get(.inline)))
    let miss = Response.get(GetResponse(descriptors: [GetDescriptor(miss: .evicted)]))
    let found = fault { _ = try client.receive(miss, id: id) { $0.place = place } }
    #expect(found?.fault.field == "place")
  }

  @Test("payload and further frames are faults where the bytes are elsewhere")
  func payload() throws {
    for (place, answer) in answers {
      let client = try Client()
      let id = try #require(client.begin(get(place)))
      let found = fault { _ = try client.receive(answer, id: id) { $0.payloadLength = 10 } }
      #expect(found?.fault.field == "payloadLength")
      let other = try Client()
      let next = try #require(other.begin(get(place)))
      let more = fault { _ = try other.receive(answer, id: next) { $0.flags.insert(.more) } }
      #expect(more?.fault.field == "flags")
    }
  }

  @Test("errors are inline, whatever was asked for")
  func errors() throws {
    for (place, _) in answers {
      let client = try Client()
      let id = try #require(client.begin(get(place)))
      let refused = try client.refuse(.get, id: id, place: 0)
      #expect(refused == .refused(requestID: id, .get, .busy, ErrorBody(message: "no")))
      let next = try #require(client.begin(get(place)))
      let found = fault { _ = try client.refuse(.get, id: next, place: place.kind.rawValue) }
      #expect(found?.fault.field == "place")
    }
  }

  @Test("sums that no number holds are faults in every place")
  func sums() throws {
    let rows = [hit(.max), hit(1)]
    let items = GetRequest(items: [item, item], place: .remote([region, region]))
    let client = try Client()
    let id = try #require(client.begin(.get(items)))
    let answer = Response.get(GetResponse(descriptors: rows, place: .remote))
    let found = fault { _ = try client.receive(answer, id: id) }
    #expect(found?.fault.field == "sentBytes")
    let shared = GetRequest(items: [item, item], place: .sharedMemory(leaseMilliseconds: 0))
    let other = try Client()
    let next = try #require(other.begin(.get(shared)))
    let hits = [
      SlabExtents(slabID: 1, extents: [0..<Int.max]), SlabExtents(slabID: 1, extents: [0..<1]),
    ]
    let inPlace = InPlaceAnswer(leaseID: leased.leaseID, leaseMilliseconds: 1, hits: hits)
    let beyond = fault {
      _ = try other.receive(.get(GetResponse(descriptors: rows, inPlace: inPlace)), id: next)
    }
    #expect(beyond?.fault.field == "sentBytes")
  }
}
