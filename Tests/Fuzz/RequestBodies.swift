import KDNCore
import KDNWire

// One request body: it is refused with a fault, or it encodes to the same bytes again. Input: u8
// operation, u8 place, body.

/// What is in another place is named for each item, ends somewhere, and is no more than allowed.
private func check(_ request: Request, _ limits: Limits) {
  switch request {
  case .get(let get):
    precondition(request.place == get.place.kind)
    precondition(get.flags.contains(.adapt) == (get.adaptation != nil))
    guard case .remote(let regions) = get.place else { return }
    precondition(regions.count == get.items.count, "each item has a region")
    for region in regions { precondition(region.address <= .max - UInt64(region.byteCount)) }
  case .putData(let data):
    precondition(request.place == data.source.place)
    switch data.source {
    case .inline: precondition(data.source.byteCount == nil)
    case .window(let offset, let byteCount):
      precondition((1...limits.maxFramePayloadBytes).contains(byteCount))
      precondition(offset >= 0 && offset <= .max - byteCount)
    case .remote(let region):
      precondition((1...limits.maxObjectBytes).contains(region.byteCount))
      precondition(region.address <= .max - UInt64(region.byteCount))
    }
  case .hello(let hello): precondition(hello.usesTicket == (hello.ticket != nil))
  case .openWindow(let window): precondition(window.byteCount >= OpenWindowRequest.byteCountMin)
  case .compose(let compose):
    precondition((1...ComposeRequest.piecesMax).contains(compose.pieces.count))
    precondition((0...1000).contains(compose.recomputePermille))
  case .edit(.add(_, _, let operation)):
    do {
      try operation.check()
    } catch {
      preconditionFailure("an operation was let through: \(error)")
    }
  case .work(.submit(_, let payload, _, let attempts)):
    precondition(payload.count <= WorkRequest.payloadBytesMax)
    precondition(attempts <= WorkRequest.attemptsMax)
  case .work(.take(let kinds, _, let lease)):
    precondition((1...WorkRequest.kindsMax).contains(kinds.count))
    precondition(WorkRequest.leaseMilliseconds.contains(Int(lease)))
  default: break
  }
}

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  guard let operation = Operation(rawValue: input.byte()) else { return -1 }
  guard let place = PayloadPlace(rawValue: input.byte() % 3) else { return -1 }
  let body = input.rest()
  var limits = Limits()
  limits.maxKeysPerRequest = 64
  do {
    let request = try Request.decode(
      operation, body: ByteReader(body), limits: limits, place: place)
    precondition(request.operation == operation)
    precondition(request.answerCount <= limits.maxKeysPerRequest)
    check(request, limits)
    let again = written { request.write(to: &$0) }
    precondition(again == body, "a body has one encoding")
  } catch {
    precondition(!error.field.isEmpty, "a fault names its field")
    precondition(Status(refusing: error) != .ok)
  }
  return 0
}
