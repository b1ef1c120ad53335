import KDNCore
import KDNWire
import Testing

private let item = GetRequest.Item(key: ObjectKey(opaque: HashChain.opaque([1])))
private let hash = HashChain.opaque([2])

/// A client machine that was greeted.
private final class Client {
  private var machine = ClientMachine()

  init() throws {
    let begun = machine.begin(.hello)
    let id = try #require(begun)
    let hello = HelloResponse(
      limits: Limits(), links: .tcp, namespaceGeneration: 1,
      serverID: [UInt8](repeating: 9, count: 16), server: "kdnd")
    _ = try receive(.hello(hello), id: id)
  }

  var requestsInFlight: Int { machine.requestsInFlight }

  func begin(_ request: Request) throws -> UInt64 {
    let begun = machine.begin(request)
    return try #require(begun)
  }

  func receive(
    _ response: Response, id: UInt64, payload: Int = 0, more: Bool = false
  ) throws -> ClientMachine.Event {
    var body = ByteWriter()
    response.write(to: &body)
    let header = FrameHeader(
      op: response.operation.rawValue, flags: more ? [.response, .more] : .response,
      requestID: id, bodyLength: body.count, payloadLength: payload)
    return try machine.receive(header, body: ByteReader(body.bytes), intact: true)
  }

  func receive(
    furtherFrameOf operation: Operation, id: UInt64, payload: Int, more: Bool = false
  ) throws -> ClientMachine.Event {
    let header = FrameHeader(
      op: operation.rawValue, flags: more ? [.response, .more] : .response, requestID: id,
      payloadLength: payload)
    return try machine.receive(header, body: ByteReader([]), intact: true)
  }
}

private func described(_ byteCount: Int) -> CodecProfileResponse {
  let sum = Checksum(7)
  return .described(
    GetResponse(descriptors: [
      GetDescriptor(
        objectBytes: byteCount, sentBytes: byteCount, objectChecksum: sum, sentChecksum: sum)
    ]))
}

private let facts = CodecProfileFacts(
  hash: hash, layout: .none, part: .none, byteCount: 9, tokenCount: 4, kind: 1)

@Suite("Delivery on the wire")
struct DeliveryTests {
  @Test("a set of codecs accepts raw always and others by their bit")
  func codecs() {
    #expect(CodecSet([]).accepts(.raw))
    #expect(!CodecSet([]).accepts(.exact))
    for codec in PayloadCodec.allCases {
      let set = CodecSet([codec])
      #expect(set.rawValue == 1 << UInt32(codec.rawValue))
      for other in PayloadCodec.allCases {
        #expect(set.accepts(other) == (other == codec || other == .raw))
      }
      #expect(set.hasEncoded == (codec != .raw))
    }
    #expect(!CodecSet(rawValue: 1 << 6 | 1 << 31 | 1).hasEncoded)
    #expect(PayloadCodec.allCases.filter(\.isLossy) == [.high, .balanced, .small, .archive])
    #expect(PayloadCodec.allCases.filter(\.isTransform) == [.small, .archive])
  }

  @Test("the flag that asks for a choice is there exactly if rates are")
  func flags() {
    let adaptation = Adaptation(bytesPerSecond: 1)
    #expect(GetRequest(items: [item], adaptation: adaptation).flags == .adapt)
    #expect(GetRequest(items: [item], flags: [.adapt, .wait]).flags == .wait)
  }

  @Test("a profile's bytes come in several frames, other requests between them")
  func profileFrames() throws {
    let client = try Client()
    let id = try client.begin(.codecProfile(.get(hash)))
    let other = try client.begin(.codecProfile(.use(hash)))
    guard
      case .items(id, let rows, 4, false) = try client.receive(
        .codecProfile(described(9)), id: id, payload: 4, more: true)
    else {
      Issue.record("no descriptors")
      return
    }
    #expect(rows.map(\.sentBytes) == [9])
    #expect(
      try client.receive(.codecProfile(.used(facts)), id: other)
        == .response(requestID: other, .codecProfile(.used(facts))))
    #expect(
      try client.receive(furtherFrameOf: .codecProfile, id: id, payload: 5)
        == .payload(requestID: id, payloadLength: 5, last: true))
    #expect(client.requestsInFlight == 0)
  }

  @Test("a profile that is not there is an answer without payload")
  func missingProfile() throws {
    let client = try Client()
    let id = try client.begin(.codecProfile(.get(hash)))
    let answer = CodecProfileResponse.described(
      GetResponse(descriptors: [GetDescriptor(miss: .neverStored)]))
    #expect(
      try client.receive(.codecProfile(answer), id: id)
        == .response(requestID: id, .codecProfile(answer)))
  }

  @Test(
    "payload or more frames behind an answer without bytes cost the connection",
    arguments: [(4, false), (0, true)])
  func bareAnswers(payload: Int, more: Bool) throws {
    for request in [CodecProfileRequest.use(hash), .list(.none)] {
      let client = try Client()
      let id = try client.begin(.codecProfile(request))
      #expect(throws: ClientProtocolFault.self) {
        _ = try client.receive(
          .codecProfile(.used(facts)), id: id, payload: payload, more: more)
      }
    }
  }

  @Test("a profile's further frame under another operation costs the connection")
  func foreignFrame() throws {
    let client = try Client()
    let id = try client.begin(.codecProfile(.get(hash)))
    _ = try client.receive(.codecProfile(described(9)), id: id, payload: 4, more: true)
    #expect(throws: ClientProtocolFault.self) {
      _ = try client.receive(furtherFrameOf: .get, id: id, payload: 5)
    }
  }
}
