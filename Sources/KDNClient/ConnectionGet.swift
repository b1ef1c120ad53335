internal import KDNCore
package import KDNWire

extension Connection {
  /// Bytes that are received at once: few enough to be in the cache still when they are checked.
  private static let pieceBytes = 512 << 10

  /// Fetches items, each into its own buffer, which must have room for all bytes selected.
  ///
  /// The bytes are received straight into the buffers. A buffer holds undefined bytes unless its
  /// item's result is a hit. With `verifies`, and without the flag `unverified`, bytes that do not
  /// have the checksum that the server announced are a miss with cause `corrupt`.
  ///
  /// - Returns: one result per item, in the order of `items`.
  /// - Throws: `refused`, `unsendable` if there are no items or too many, or whatever ends the
  ///   connection.
  @unsafe package func get(
    _ items: [GetRequest.Item], into buffers: [UnsafeMutableRawBufferPointer],
    flags: GetRequest.Flags = [], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> [GetResult] {
    precondition(unsafe items.count == buffers.count, "each item has a buffer")
    guard (1...hello.limits.maxKeysPerRequest).contains(items.count) else {
      throw .unsendable(
        FieldFault(
          "count", value: items.count, limit: hello.limits.maxKeysPerRequest,
          "must be 1 to the server's limit"))
    }
    let checks = verifies && !flags.contains(.unverified)
    var sink = unsafe PayloadSink(items, into: buffers, verifies: checks)
    let request = GetRequest(items: items, flags: checks ? flags : flags.union(.unverified))
    return try guarded { () throws(ClientError) in
      try start(deadlineMilliseconds: deadlineMilliseconds)
      let id = try encode(.get(request), deadlineMilliseconds)
      try send()
      while try !receiveFrame(of: id, into: &sink, checks: checks) {}
      return sink.results
    }
  }

  /// Receives one frame and its payload; true if it was the answer's last.
  private func receiveFrame(
    of id: UInt64, into sink: inout PayloadSink, checks: Bool
  ) throws(ClientError) -> Bool {
    let pieceBytes = Self.pieceBytes
    let guess = unsafe sink.place(limit: pieceBytes)
    let arrival = unsafe try source.next(
      from: &socket, for: &machine, expecting: sink.expectedControlBytes, spilling: guess)
    let spilled = unsafe UnsafeRawBufferPointer(
      rebasing: UnsafeRawBufferPointer(guess)[..<arrival.spilled])
    switch arrival.event {
    case .items(id, let descriptors, let payloadLength, let last):
      sink.begin(descriptors, &checksum)
      let accepted = sink.accepted(guessed: arrival.spilled, payloadLength: payloadLength)
      unsafe source.settle(spilled, accepted: accepted)
      sink.arrived(accepted, &checksum)
      try receivePayload(into: &sink, pieceBytes: pieceBytes, checks: checks)
      return last
    case .payload(id, let payloadLength, let last):
      let accepted = min(arrival.spilled, payloadLength)
      unsafe source.settle(spilled, accepted: accepted)
      sink.arrived(accepted, &checksum)
      try receivePayload(into: &sink, pieceBytes: pieceBytes, checks: checks)
      return last
    case .response(id, .get(let answer)):
      unsafe source.settle(spilled, accepted: 0)
      sink.begin(answer.descriptors, &checksum)
      return true
    case .refused(id, _, let status, let body):
      unsafe source.settle(spilled, accepted: 0)
      throw .refused(status, body)
    case let other:
      unsafe source.settle(spilled, accepted: 0)
      try pass(over: other)
      return false
    }
  }

  private func receivePayload(
    into sink: inout PayloadSink, pieceBytes: Int, checks: Bool
  ) throws(ClientError) {
    while source.payloadRemaining > 0 {
      let place = unsafe sink.place(limit: min(pieceBytes, source.payloadRemaining))
      precondition(unsafe !place.isEmpty, "the machine admits no payload beyond the descriptors")
      let count = unsafe try source.payload(into: place, from: &socket)
      sink.arrived(count, &checksum)
      if let progress, let (done, total) = sink.progress { progress(done, total) }
    }
  }
}
