internal import KDNCore
internal import KDNWire

extension GetDescriptor {
  /// Whether the bytes sent can be the ones that `request` asked for by this item.
  func answers(_ request: GetRequest, _ index: Int, verifies: Bool) -> Bool {
    answers(
      request.items[index].selection, accepting: request.acceptedCodecs, verifies: verifies)
  }

  /// Whether the bytes sent can be the ones that `selection` asked for, in a codec that was
  /// accepted.
  ///
  /// With `verifies` their checksum must be the object's where they are all of it, as it is.
  func answers(
    _ selection: GetRequest.Selection, accepting codecs: CodecSet, verifies: Bool
  ) -> Bool {
    guard codec == .raw else {
      return codecs.accepts(codec) && selection == .whole && sentBytes > 0 && objectBytes > 0
    }
    switch selection {
    case .whole:
      return sentBytes == objectBytes && sentBytes > 0
        && (!verifies || sentChecksum == objectChecksum)
    case .ranges(let ranges):
      return sentBytes == ranges.reduce(0) { $0 + $1.count }
    case .part:
      return sentBytes > 0 && sentBytes <= objectBytes
    }
  }
}

extension Connection {
  /// Refuses a number of items that the server does not take.
  ///
  /// - Throws: `unsendable`.
  func checkItemCount(_ count: Int) throws(ClientError) {
    guard (1...hello.limits.maxKeysPerRequest).contains(count) else {
      throw .unsendable(
        FieldFault(
          "count", value: count, limit: hello.limits.maxKeysPerRequest,
          "must be 1 to the server's limit"))
    }
  }

  /// Sends a GET whose bytes come in another place than the stream, and waits for its answer.
  ///
  /// - Throws: `refused`, or whatever ends the connection.
  func answer(
    to request: GetRequest, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> (id: UInt64, answer: GetResponse) {
    try awaitRoom()
    let id = try encode(.get(request), deadlineMilliseconds)
    try send()
    while true {
      switch try nextEvent() {
      case .response(id, .get(let answer)): return (id, answer)
      case .refused(id, _, let status, let body): throw .refused(status, body)
      case let other: try pass(over: other)
      }
    }
  }

  /// Takes answers that nobody waits for until another request may be sent; outside of stores.
  func awaitRoom() throws(ClientError) {
    while unawaited.count > Self.unawaitedMax || (!machine.hasRoom && !unawaited.isEmpty) {
      try pass(over: try nextEvent())
    }
  }

  /// Most requests whose answers nobody waits for.
  private static let unawaitedMax = 16
}
