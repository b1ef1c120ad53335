import KDNCore
import KDNWire

// A stream of frames, fed to the decoder and the session machine in one piece and in small pieces:
// both must see the same frames, refuse at the same place and never trap. Checksums are put right
// first where the first byte says so, since no fuzzer guesses them.

private struct Seen: Equatable {
  var headers: [FrameHeader] = []
  var actions: [SessionMachine.Action] = []
  var payload: [UInt8] = []
  var fault: FramingFault?
}

private func sealed(_ stream: [UInt8]) -> [UInt8] {
  var bytes = stream
  var start = 0
  while bytes.count - start >= FrameHeader.byteCount {
    func number(_ offset: Int, _ width: Int) -> UInt64 {
      (0..<width).reduce(0) { $0 | UInt64(bytes[start + offset + $1]) << (8 * $1) }
    }
    func put(_ value: UInt64, _ offset: Int, _ width: Int) {
      for index in 0..<width {
        bytes[start + offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
      }
    }
    put(UInt64(FrameHeader.magic), 0, 4)
    put(UInt64(FrameHeader.version), 4, 1)
    let body = start + FrameHeader.byteCount
    let end = body + Int(number(16, 4))
    if end <= bytes.count {
      put(end == body ? 0 : Checksum(of: bytes[body..<end]).value, 40, 8)
    }
    put(Checksum(of: bytes[start..<start + 60]).value, 60, 4)
    let payload = number(24, 8)
    guard end <= bytes.count, payload <= UInt64(bytes.count - end) else { break }
    start = end + Int(payload)
  }
  return bytes
}

private func feed(
  _ stream: [UInt8], step: Int, answering: Bool, places: Set<PayloadPlace>
) -> Seen {
  var seen = Seen()
  var decoder = FrameDecoder(maxBodyBytes: 4096, maxFramePayloadBytes: 1024)
  let now = Instant(nanoseconds: 1)
  var limits = Limits()
  limits.maxKeysPerRequest = 16
  limits.maxRequestsInFlight = 4
  var machine = SessionMachine(limits: limits, acceptedAt: now)
  var start = 0
  while start < stream.count {
    let end = min(stream.count, start + step)
    let piece = Array(stream[start..<end])
    decoder.append(piece.span)
    start = end
    do {
      while true {
        var room = [UInt8](repeating: 0, count: 8)
        while decoder.bufferedPayloadBytes > 0 {
          var span = room.mutableSpan
          let count = decoder.takeBufferedPayload(into: &span)
          seen.payload += room.prefix(count)
        }
        guard let header = try decoder.nextFrame() else { break }
        seen.headers.append(header)
        let action = machine.receive(
          header, body: decoder.body, intact: decoder.bodyIsIntact, now: now)
        seen.actions.append(action)
        check(action, header, places)
        follow(action, &machine, places, answering: answering, now: now)
      }
    } catch {
      seen.fault = error
      seen.actions.append(machine.broken(by: error))
      return seen
    }
    precondition(decoder.bufferedBytes < FrameHeader.byteCount + 4096, "the buffer is bounded")
  }
  return seen
}

/// What is executed has its payload in a place that was granted, and none of it elsewhere.
private func check(
  _ action: SessionMachine.Action, _ header: FrameHeader, _ places: Set<PayloadPlace>
) {
  let asked: Request
  switch action {
  case .execute(let request, _, _): asked = request
  case .data(let data, let payloadLength):
    asked = .putData(data)
    precondition(payloadLength == data.source.byteCount ?? header.payloadLength)
  case .hello, .refuse, .skip, .goAway: return
  }
  precondition(asked.place == .inline || places.contains(asked.place))
  precondition(asked.place == .inline || header.payloadLength == 0)
  let handsOut = asked.operation == .mapSlab || asked.operation == .openWindow
  precondition(!handsOut || places.contains(.sharedMemory))
}

private func follow(
  _ action: SessionMachine.Action, _ machine: inout SessionMachine, _ places: Set<PayloadPlace>,
  answering: Bool, now: Instant
) {
  switch action {
  case .hello: machine.welcomed(limits: machine.limits, places: places)
  case .execute(let request, let id, let deadline):
    precondition(deadline > now, "a deadline lies ahead")
    if case .putBegin(let begin) = request {
      _ = machine.openTransfer(id, bytes: begin.totalBytes)
    }
    if case .putCommit(let commit) = request { machine.closeTransfer(commit.transferID) }
    if answering { machine.answered(id, now: now) }
  case .data, .refuse, .skip, .goAway: break
  }
  precondition(machine.requestsInFlight <= machine.limits.maxRequestsInFlight)
  precondition(machine.openTransferBytes <= machine.limits.creditBytes)
}

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let choice = input.byte()
  let stream = choice & 1 == 0 ? sealed(input.rest()) : input.rest()
  let answering = choice & 2 == 0
  var places: Set<PayloadPlace> = []
  if choice & 4 == 0 { places.insert(.sharedMemory) }
  if choice & 8 == 0 { places.insert(.remote) }
  let whole = feed(
    stream, step: max(1, stream.count), answering: answering, places: places)
  let dripped = feed(
    stream, step: 1 + Int(choice >> 4), answering: answering, places: places)
  precondition(whole == dripped, "pieces do not change what is seen")
  return 0
}
