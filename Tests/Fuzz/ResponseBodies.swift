import KDNCore
import KDNWire

// A server that says anything: the client machine gives events that fit its requests, or one fault.
// A record of the input is: u8 op, u8 request, u8 flags, u8 status, u8 place, u16 payload length,
// u16 body length, body. Requests are numbered in the order of their operations from HELLO, 1, on;
// behind them come a GET in shared memory and a remote one.

private func welcome() -> Response {
  .hello(
    HelloResponse(
      limits: Limits(), links: .tcp, namespaceGeneration: 0,
      serverID: [UInt8](repeating: 0, count: 16), server: ""))
}

/// Payload bytes that a GET's descriptors announced and that have not come.
private var announced: [UInt64: Int] = [:]

private func check(_ event: ClientMachine.Event, header: FrameHeader, body: [UInt8]) {
  switch event {
  case .response(let id, let response):
    precondition(id == header.requestID && header.payloadLength == 0)
    precondition(written { response.write(to: &$0) } == body, "a body has one encoding")
    precondition(response.place.rawValue == header.place)
    if case .get(let answer) = response { check(answer) }
    if case .compose(let blend) = response { check(blend) }
    if case .codecProfile(.described(let answer)) = response { check(answer) }
  case .items(let id, let descriptors, let payload, let last):
    let total = descriptors.reduce(0) { $0 + $1.sentBytes }
    precondition(header.place == 0)
    precondition(payload == header.payloadLength && (last ? payload == total : payload < total))
    announced[id] = total - payload
  case .payload(let id, let payload, let last):
    let left = (announced[id] ?? 0) - payload
    precondition(last ? left == 0 : left > 0, "payload is what descriptors announced")
    announced[id] = left
  case .refused(_, _, let status, let error), .goAway(let status, let error):
    precondition(status != .ok)
    precondition(written { error.write(to: &$0) } == body, "a body has one encoding")
  case .skip: precondition(header.flags.contains(.optional))
  }
}

/// Each row is one kept token, and what is to be computed anew is among them.
private func check(_ blend: ComposeResponse) {
  var row = 0
  for piece in blend.pieces {
    precondition(piece.firstRow == row && piece.keptCount > 0)
    precondition(!piece.recompute.intersects(piece.dropped))
    precondition(piece.firstPosition + piece.tokenCount <= blend.endPosition)
    row += piece.keptCount
  }
  precondition(row == blend.rowCount)
}

/// Bytes in shared memory are as many as the descriptors say, and under a lease.
private func check(_ answer: GetResponse) {
  precondition((answer.inPlace != nil) == (answer.place == .sharedMemory))
  precondition(answer.descriptors.allSatisfy { $0.miss == nil || $0.codec == .raw })
  guard let inPlace = answer.inPlace else { return }
  let hits = answer.descriptors.filter { $0.miss == nil }
  precondition(hits.count == inPlace.hits.count, "each hit lies somewhere")
  precondition(hits.isEmpty == (inPlace.leaseID == 0), "hits are leased")
  for (descriptor, hit) in zip(hits, inPlace.hits) {
    precondition(hit.extents.reduce(0) { $0 + $1.count } == descriptor.sentBytes)
    precondition(hit.extents.allSatisfy { !$0.isEmpty && $0.lowerBound >= 0 })
  }
}

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  announced = [:]
  var input = FuzzInput(data, size)
  var machine = ClientMachine()
  let greeted = input.byte()
  let count = Int(input.byte() % 20)
  guard let hello = machine.begin(.hello) else { preconditionFailure("HELLO comes first") }
  do {
    if greeted & 1 == 0 {
      let body = written { welcome().write(to: &$0) }
      let header = FrameHeader(op: 1, flags: .response, requestID: hello)
      _ = try machine.receive(header, body: ByteReader(body), intact: true)
      for operation in Operation.allCases
      where operation != .hello && operation != .putData && operation != .goAway {
        precondition(machine.begin(operation, answerCount: count) != nil)
      }
      for place in [PayloadPlace.sharedMemory, .remote] {
        precondition(machine.begin(.get, answerCount: count, place: place) != nil)
      }
    }
    while !input.isEmpty {
      var header = FrameHeader(op: input.byte(), requestID: UInt64(input.byte()))
      header.flags = FrameFlags(rawValue: UInt16(input.byte()))
      header.status = UInt16(input.byte())
      header.place = input.byte()
      header.payloadLength = input.number()
      let body = input.take(input.number())
      header.bodyLength = body.count
      let waiting = machine.requestsInFlight
      let event = try machine.receive(header, body: ByteReader(body), intact: true)
      check(event, header: header, body: body)
      precondition(machine.requestsInFlight <= waiting)
    }
  } catch {
    precondition(!error.fault.field.isEmpty, "a fault names its field")
    precondition(machine.requestsInFlight == 0 && !machine.hasRoom, "a fault ends the connection")
  }
  return 0
}
