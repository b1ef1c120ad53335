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
    unsafe try get(
      items, into: buffers, terms: GetTerms(flags: flags),
      deadlineMilliseconds: deadlineMilliseconds)
  }

  /// Fetches items as `terms` say, each into its own buffer; see `get(_:into:flags:)`.
  ///
  /// What comes encoded is `encoded`, checked as it was sent, and lies in the buffer for the caller
  /// to decode: it is shorter than the object except for its header, so room for the object is
  /// room enough in all but odd cases, which are `noRoom`.
  ///
  /// - Throws: `refused`, `unsendable` if there are no items or too many, or whatever ends the
  ///   connection.
  @unsafe package func get(
    _ items: [GetRequest.Item], into buffers: [UnsafeMutableRawBufferPointer], terms: GetTerms,
    deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> [GetResult] {
    precondition(unsafe items.count == buffers.count, "each item has a buffer")
    try checkItemCount(items.count)
    let checks = verifies && !terms.flags.contains(.unverified)
    let terms = terms.checking(checks)
    let room = unsafe buffers.reduce(0) { $0 + $1.count }
    return try guarded { () throws(ClientError) in
      try start(deadlineMilliseconds: deadlineMilliseconds)
      if room > Self.inlineBytesMax, link.kind == .shm {
        return unsafe try getShared(
          items, into: buffers, terms, checks: checks, deadlineMilliseconds)
      }
      let isOnDevice = unsafe buffers.indices.contains {
        unsafe regions.isOnDevice(UnsafeRawBufferPointer(buffers[$0]))
      }
      if room > Self.inlineBytesMax || isOnDevice, link.kind == .rdma,
        let results = unsafe try getRemote(
          items, into: buffers, terms, checks: checks, deadlineMilliseconds)
      {
        return results
      }
      guard !isOnDevice else { throw .unsendable(Self.onDevice) }
      return unsafe try getInline(
        items, into: buffers, terms, checks: checks, deadlineMilliseconds)
    }
  }

  /// Fetches items whose bytes come in the stream.
  func getInline(
    _ items: [GetRequest.Item], into buffers: [UnsafeMutableRawBufferPointer],
    _ terms: GetTerms, checks: Bool, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> [GetResult] {
    unsafe try receive(
      .get(terms.request(items)), items, into: buffers, accepting: terms.acceptedCodecs,
      checks: checks, deadlineMilliseconds)
  }

  /// Sends a request that is answered by descriptors and payload, and receives both.
  func receive(
    _ request: Request, _ items: [GetRequest.Item],
    into buffers: [UnsafeMutableRawBufferPointer], accepting codecs: CodecSet, checks: Bool,
    _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> [GetResult] {
    var sink = unsafe PayloadSink(items, into: buffers, accepting: codecs, verifies: checks)
    try awaitRoom()
    let id = try encode(request, deadlineMilliseconds)
    try send()
    while try !receiveFrame(of: id, into: &sink, checks: checks) {}
    return sink.results
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
    case .response(id, .get(let answer)), .response(id, .codecProfile(.described(let answer))):
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
