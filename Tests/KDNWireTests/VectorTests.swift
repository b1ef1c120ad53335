import KDNCore
import KDNWire
import Testing

/// A decoder that took the whole of one vector's control bytes.
private func decoded(_ bytes: [UInt8]) throws -> (FrameDecoder, FrameHeader?) {
  var decoder = FrameDecoder(maxBodyBytes: 1 << 20, maxFramePayloadBytes: 4 << 20)
  decoder.append(bytes.span)
  let header = try decoder.nextFrame()
  return (decoder, header)
}

@Suite("Golden vectors of frames")
struct VectorTests {
  @Test("a header holds the fields that the vector names", arguments: Vectors.frames)
  func header(_ vector: FrameVector) throws {
    let (decoder, decodedHeader) = try decoded(vector.bytes)
    let header = try #require(decodedHeader)
    #expect(header.operation == vector.operation)
    #expect(header.operation?.name == vector.fields.op)
    #expect(header.flags.rawValue == vector.fields.flags)
    #expect(header.requestID == vector.fields.requestID)
    #expect(Status(rawValue: header.status)?.name == vector.fields.status)
    #expect(header.place == vector.fields.place)
    #expect(header.deadlineMilliseconds == vector.fields.deadlineMillis)
    #expect(header.payloadLength == vector.fields.payload.count / 2)
    #expect(header.reserved == 0)
    #expect(decoder.bodyIsIntact)
    #expect(decoder.payloadRemaining == header.payloadLength)
    #expect(decoder.bufferedPayloadBytes == header.payloadLength)
  }

  @Test(
    "a request's body holds the named fields and encodes to the same bytes",
    arguments: Vectors.requests)
  func request(_ vector: FrameVector) throws {
    let (decoder, header) = try decoded(vector.bytes)
    let operation = try #require(header?.operation)
    let request = try Request.decode(
      operation, body: decoder.body, limits: Limits(), place: vector.place)
    #expect(request.place == vector.place)
    #expect(request.json == vector.fields.body)
    #expect(request.operation == operation)
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    encoder.request(
      request, id: vector.fields.requestID, deadlineMilliseconds: vector.fields.deadlineMillis,
      payloadLength: vector.fields.payload.count / 2, to: &writer)
    #expect(hexadecimal(writer.bytes) + vector.fields.payload == vector.hex)
  }

  @Test(
    "an answer's body holds the named fields and encodes to the same bytes",
    arguments: Vectors.answers)
  func answer(_ vector: FrameVector) throws {
    let (decoder, header) = try decoded(vector.bytes)
    let operation = try #require(header?.operation)
    let response = try Response.decode(
      operation, body: decoder.body, count: answerCount(vector), place: vector.place)
    #expect(response.place == vector.place)
    #expect(response.json == vector.fields.body)
    #expect(response.operation == operation)
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    encoder.response(
      response, id: vector.fields.requestID, more: vector.fields.flags & 4 != 0,
      payloadLength: vector.fields.payload.count / 2, to: &writer)
    #expect(hexadecimal(writer.bytes) + vector.fields.payload == vector.hex)
  }

  @Test(
    "an error's body holds the named fields and encodes to the same bytes",
    arguments: Vectors.errors)
  func error(_ vector: FrameVector) throws {
    let (decoder, header) = try decoded(vector.bytes)
    var reader = decoder.body
    let body = try ErrorBody(from: &reader)
    #expect(body.json == vector.fields.body)
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    encoder.error(
      try #require(header).op, id: vector.fields.requestID,
      try #require(Status.allCases.first { $0.name == vector.fields.status }), body, to: &writer)
    #expect(hexadecimal(writer.bytes) == vector.hex)
  }

  @Test(
    "a further frame of a GET encodes to the same bytes",
    arguments: Vectors.frames.filter(\.isContinuation))
  func continuation(_ vector: FrameVector) {
    var encoder = FrameEncoder()
    var writer = ByteWriter()
    encoder.continuation(
      id: vector.fields.requestID, more: false, payloadLength: vector.fields.payload.count / 2,
      to: &writer)
    #expect(hexadecimal(writer.bytes) + vector.fields.payload == vector.hex)
  }

  @Test(
    "a fault is refused with its status and field, and only framing costs the connection",
    arguments: Vectors.faults)
  func fault(_ vector: FaultVector) throws {
    let now = Instant(nanoseconds: 1)
    var machine = SessionMachine(limits: Limits(), acceptedAt: now)
    let granted: Set<PayloadPlace> = PayloadPlace(rawValue: vector.grants).map { [$0] } ?? []
    if !vector.name.hasPrefix("HELLO") { machine.greet(now: now, places: granted) }
    var decoder = FrameDecoder(maxBodyBytes: 1 << 20, maxFramePayloadBytes: 4 << 20)
    decoder.append(vector.bytes.span)
    let action: SessionMachine.Action
    do {
      let header = try #require(try decoder.nextFrame())
      action = machine.receive(
        header, body: decoder.body, intact: decoder.bodyIsIntact, now: now)
    } catch let fault as FramingFault {
      action = machine.broken(by: fault)
    }
    switch action {
    case .refuse(_, _, let status, let fault):
      #expect(!vector.framing)
      #expect(status.name == vector.status)
      #expect(fault?.field == vector.field)
      _ = decoder.skipBufferedPayload()
      #expect(decoder.bufferedBytes == 0, "the next frame is found behind the refused one")
      let next = machine.receive(
        FrameHeader(op: Operation.stats.rawValue, requestID: 99), body: ByteReader([]),
        intact: true, now: now)
      #expect(vector.name.hasPrefix("HELLO") || next.isExecute)
    case .goAway(let status, let fault):
      #expect(vector.framing)
      #expect(status.name == vector.status)
      #expect(fault.field == vector.field)
    default: Issue.record("accepted: \(action)")
    }
  }

  @Test("an answer that cannot be is refused by its field", arguments: Vectors.answerFaults)
  func answerFault(_ vector: AnswerFaultVector) throws {
    let operation = try #require(vector.operation)
    let place = try #require(PayloadPlace(rawValue: vector.place))
    let fault = #expect(throws: FieldFault.self) {
      _ = try Response.decode(
        operation, body: ByteReader(vector.body), count: vector.count, place: place)
    }
    #expect(fault?.field == vector.field)
  }

  @Test("the vectors hold each operation in each direction it goes")
  func coverage() {
    let never: Set<String> = ["GOAWAY"]
    for operation in Operation.allCases where !never.contains(operation.name) {
      #expect(Vectors.requests.contains { $0.operation == operation }, "\(operation) request")
      if operation != .putData {
        #expect(Vectors.answers.contains { $0.operation == operation }, "\(operation) answer")
      }
    }
    #expect(Set(Vectors.errors.map(\.fields.status)).count == Status.allCases.count - 1)
  }
}

extension SessionMachine {
  /// Says HELLO and lets it be granted.
  mutating func greet(
    now: Instant, limits: Limits = Limits(), places: Set<PayloadPlace> = []
  ) {
    var body = ByteWriter()
    do {
      HelloRequest(namespace: try NamespaceName("default")).write(to: &body)
    } catch {
      Issue.record(error)
    }
    let header = FrameHeader(
      op: Operation.hello.rawValue, requestID: 1, bodyLength: body.count,
      bodyChecksum: Checksum(of: body.bytes).value)
    let action = receive(header, body: ByteReader(body.bytes), intact: true, now: now)
    guard case .hello(_, requestID: 1) = action else {
      Issue.record("HELLO was not taken: \(action)")
      return
    }
    welcomed(limits: limits, places: places)
  }
}

extension SessionMachine.Action {
  var isExecute: Bool {
    if case .execute = self { true } else { false }
  }
}
