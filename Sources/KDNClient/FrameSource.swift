internal import KDNCore
internal import KDNWire

/// Reads the server's frames from a socket; payload goes straight to its place.
///
/// While it waits for a frame it may also be told where that frame's payload is likely to belong:
/// header, body and the front of the payload then come with one system call.
struct FrameSource: ~Copyable {
  /// A frame, and how many bytes behind it were put where its payload was guessed to belong.
  struct Arrival {
    let event: ClientMachine.Event
    let spilled: Int
  }

  /// Bytes of control that are received at most at once.
  private static let scratchBytes = 64 << 10

  private var decoder = FrameDecoder()
  private var scratch = [UInt8](repeating: 0, count: scratchBytes)

  /// Bytes of the present frame's payload that have not been taken.
  var payloadRemaining: Int { decoder.payloadRemaining }

  /// HELLO was answered: longer bodies and payloads are accepted.
  mutating func accept(_ limits: Limits) {
    decoder.maxBodyBytes = max(limits.maxBodyBytes, Limits.handshakeBodyBytesMax)
    decoder.maxFramePayloadBytes = limits.maxFramePayloadBytes
  }

  /// The next frame; the present one's payload must have been taken.
  mutating func next(
    from socket: inout StreamSocket, for machine: inout ClientMachine
  ) throws(ClientError) -> ClientMachine.Event {
    let nowhere = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    return unsafe try next(
      from: &socket, for: &machine, expecting: FrameHeader.byteCount, spilling: nowhere
    ).event
  }

  /// The next frame, whose payload is expected behind `control` bytes and belongs to `guess`.
  ///
  /// What was spilled must be settled before anything else is read.
  ///
  /// - Throws: `deadline`, `lost`, or `protocolFault`.
  mutating func next(
    from socket: inout StreamSocket, for machine: inout ClientMachine, expecting control: Int,
    spilling guess: UnsafeMutableRawBufferPointer
  ) throws(ClientError) -> Arrival {
    precondition(decoder.payloadRemaining == 0, "payload comes before the next frame")
    var spilled = 0
    // Only at the beginning of a frame is it known how many bytes come before its payload.
    var fresh = unsafe decoder.bufferedBytes == 0 && !guess.isEmpty
    let mayReadAhead = unsafe guess.isEmpty
    while true {
      if let event = try take(for: &machine) { return Arrival(event: event, spilled: spilled) }
      if spilled > 0 {
        // The body was longer than expected, and goes on where payload was to be.
        unsafe append(UnsafeRawBufferPointer(rebasing: guess[..<spilled]))
        spilled = 0
        continue
      }
      let wanted = wantedBytes(fresh ? control : nil, readingAhead: mayReadAhead)
      let spills = fresh && wanted == control
      fresh = false
      let count = unsafe try receive(wanted, then: spills ? guess : nil, from: &socket)
      Self.append(scratch, first: min(count, wanted), to: &decoder)
      spilled = max(0, count - wanted)
    }
  }

  private func wantedBytes(_ control: Int?, readingAhead: Bool) -> Int {
    guard !readingAhead else { return Self.scratchBytes }
    return min(control ?? decoder.wantedControlBytes, Self.scratchBytes)
  }

  private mutating func take(
    for machine: inout ClientMachine
  ) throws(ClientError) -> ClientMachine.Event? {
    do {
      guard let header = try decoder.nextFrame() else { return nil }
      return try event(header, &machine)
    } catch let fault as FramingFault {
      throw .protocolFault(.framing(fault))
    } catch let fault as ClientProtocolFault {
      throw .protocolFault(fault)
    } catch {
      throw .lost("\(error)")
    }
  }

  private func event(
    _ header: FrameHeader, _ machine: inout ClientMachine
  ) throws(ClientProtocolFault) -> ClientMachine.Event {
    try machine.receive(header, body: decoder.body, intact: decoder.bodyIsIntact)
  }

  private mutating func receive(
    _ wanted: Int, then guess: UnsafeMutableRawBufferPointer?, from socket: inout StreamSocket
  ) throws(ClientError) -> Int {
    let result: Result<Int, ClientError> = unsafe scratch.withUnsafeMutableBytes { whole in
      do throws(ClientError) {
        let front = unsafe UnsafeMutableRawBufferPointer(rebasing: whole[..<wanted])
        guard let guess = unsafe guess else {
          return .success(unsafe try socket.receive(into: front))
        }
        return .success(unsafe try socket.receive(into: front, then: guess))
      } catch {
        return .failure(error)
      }
    }
    let count = try result.get()
    guard count > 0 else { throw .lost("the server closed the connection") }
    return count
  }

  /// Of the bytes spilled, the first `accepted` are the payload's and lie right; the others are
  /// taken back into the stream.
  mutating func settle(_ spilled: UnsafeRawBufferPointer, accepted: Int) {
    decoder.payloadArrived(accepted)
    guard accepted < spilled.count else { return }
    unsafe append(UnsafeRawBufferPointer(rebasing: spilled[accepted...]))
  }

  /// Receives payload into `buffer`, which must not be empty nor longer than what remains.
  ///
  /// - Throws: `deadline`, or `lost`.
  mutating func payload(
    into buffer: UnsafeMutableRawBufferPointer, from socket: inout StreamSocket
  ) throws(ClientError) -> Int {
    if decoder.bufferedPayloadBytes > 0 {
      var span = unsafe MutableSpan<UInt8>(_unsafeBytes: buffer)
      return decoder.takeBufferedPayload(into: &span)
    }
    let count = unsafe try socket.receive(into: buffer)
    guard count > 0 else { throw .lost("the server closed the connection inside a payload") }
    decoder.payloadArrived(count)
    return count
  }

  /// Drops the payload of a frame that is skipped.
  mutating func skipPayload(from socket: inout StreamSocket) throws(ClientError) {
    _ = decoder.skipBufferedPayload()
    while decoder.payloadRemaining > 0 {
      let count = min(decoder.payloadRemaining, Self.scratchBytes)
      decoder.payloadArrived(unsafe try receive(count, then: nil, from: &socket))
    }
  }

  private static func append(
    _ bytes: borrowing [UInt8], first count: Int, to decoder: inout FrameDecoder
  ) {
    decoder.append(bytes.span.extracting(0..<count))
  }

  private mutating func append(_ bytes: UnsafeRawBufferPointer) {
    decoder.append(unsafe Span(_unsafeBytes: bytes))
  }
}
