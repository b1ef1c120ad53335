internal import KDNControl
internal import KDNCore
internal import KDNTransport
internal import KDNWire

extension Session {
  /// Answers a request that is being executed with an error.
  func refuse(_ call: Call, _ refusal: Refusal, now: Instant) {
    queueError(call.id, call.operation.rawValue, refusal)
    ended(call, refusal.status, now: now)
  }

  /// Answers a request that is being executed.
  func respond(_ response: Response, _ call: Call, now: Instant) {
    send(response, call.id)
    ended(call, .ok, now: now)
  }

  /// Counts a request whose answer has been queued.
  func ended(_ call: Call, _ status: Status, now: Instant) {
    machine.answered(call.id, now: now)
    let nanoseconds = now.nanoseconds(since: call.arrival)
    times.count(call.operation, status, nanoseconds: nanoseconds)
    guard context.slowLog.isSlow(nanoseconds: nanoseconds) else { return }
    let wallTime = SystemWallClock().milliseconds()
    let arrival = wallTime - min(wallTime, nanoseconds / 1_000_000)
    context.slowLog.note(
      SlowRequest(
        operation: call.operation.name, namespace: call.namespace.name.text,
        connection: owner.number, unixMilliseconds: arrival, items: call.items, bytes: call.bytes,
        status: status.name, totalMicroseconds: nanoseconds / 1000,
        waitMicroseconds: call.waitNanoseconds / 1000,
        diskMicroseconds: call.diskNanoseconds / 1000))
  }

  /// Answers what was not carried out at all, perhaps of an operation that there is not.
  func sendError(
    _ id: UInt64, _ op: UInt8, _ refusal: Refusal, arrival: Instant, now: Instant
  ) {
    queueError(id, op, refusal)
    guard let operation = Operation(rawValue: op) else { return }
    times.count(operation, refusal.status, nanoseconds: now.nanoseconds(since: arrival))
  }

  private func queueError(_ id: UInt64, _ op: UInt8, _ refusal: Refusal) {
    context.counters.countError()
    member?.gate.counters.countError(status: refusal.status.rawValue)
    var writer = ByteWriter(capacity: 192)
    encoder.error(op, id: id, refusal.status, refusal.body, to: &writer)
    link.send(writer.bytes, isUrgent: true)
  }

  /// Queues an answer.
  func send(_ response: Response, _ id: UInt64) {
    var writer = ByteWriter(capacity: 192)
    encoder.response(response, id: id, to: &writer)
    link.send(writer.bytes, isUrgent: true)
  }

  /// Says good-bye, and closes once that is out.
  func goAway(_ status: Status, _ fault: FieldFault?, closing: Bool = true) {
    var writer = ByteWriter(capacity: 192)
    let retry: UInt32 = status == .busy || status == .tooManyConnections ? 1000 : 0
    let body =
      fault.map { ErrorBody($0, retryAfterMilliseconds: retry) }
      ?? ErrorBody(retryAfterMilliseconds: retry)
    encoder.goAway(status, body, to: &writer)
    link.send(writer.bytes, isUrgent: true)
    if closing { closesWhenFlushed = true }
  }
}
