internal import KDNCore
internal import KDNTransport
internal import KDNWire

extension Session {
  /// Control bytes read at once while no PUT is open; more may be payload, which would be copied.
  static let controlReadBytes = 2 << 10
  /// Header and body of the frames that follow each other inside a PUT.
  private static let putFrameBytes = FrameHeader.byteCount + 16
  /// Payload bytes taken from the socket at once; small enough to be hashed while in cache.
  private static let payloadReadBytes = 256 << 10
  /// Bytes read before other connections get their turn.
  private static let readBudgetBytes = 8 << 20

  /// Reads until the socket is empty, the budget is spent or too much waits to be sent.
  func receive(on loop: isolated Loop) {
    guard !closesWhenFlushed else { return drop(on: loop) }
    copiedInTurn = 0
    if hasWaitingFrames {
      hasWaitingFrames = false
      guard handleFrames(on: loop) else { return }
    }
    var budget = Self.readBudgetBytes
    while budget > 0, !isClosed, !closesWhenFlushed, refusal == nil {
      let reception =
        decoder.payloadRemaining > 0 ? receivePayload(on: loop) : receiveControl(on: loop)
      switch reception {
      case .bytes(let count): budget -= count
      case .wouldBlock: return
      case .ended: return close(on: loop)
      }
      guard handleFrames(on: loop) else { return }
      budget -= copiedInTurn
      copiedInTurn = 0
      if isDry || link.queuedBytes >= limits.creditBytes { return }
    }
  }

  /// Takes what still comes for a connection that is over, until the other side has ended it too.
  private func drop(on loop: isolated Loop) {
    var budget = Self.readBudgetBytes
    while budget > 0 {
      switch unsafe link.receive(into: loop.scratch) {
      case .bytes(let count): budget -= count
      case .wouldBlock: return
      case .ended: return close(on: loop)
      }
    }
  }

  private func receiveControl(on loop: isolated Loop) -> Reception {
    let wanted = decoder.wantedControlBytes
    guard charge(Self.restingBytes + wanted) else {
      goAway(.busy, FieldFault("bufferBytes", value: wanted, limit: 0, "no memory for the body"))
      return .wouldBlock
    }
    let count = transfers.isEmpty ? max(wanted, Self.controlReadBytes) : wanted
    let buffer = unsafe UnsafeMutableRawBufferPointer(
      rebasing: loop.scratch.prefix(min(count, loop.scratch.count)))
    let reception = unsafe link.receive(into: buffer)
    if case .bytes(let count) = reception {
      isDry = count < buffer.count && link.handshake == .none
      unsafe append(buffer, count)
    }
    return reception
  }

  /// Receives straight into the transfer's extent, and the next frame's header behind it.
  private func receivePayload(on loop: isolated Loop) -> Reception {
    let wanted = min(decoder.payloadRemaining, Self.payloadReadBytes)
    guard let room = unsafe payloadTransfer?.room(for: wanted) else {
      return discardPayload(on: loop)
    }
    let isLast = wanted == decoder.payloadRemaining
    let control = unsafe UnsafeMutableRawBufferPointer(
      rebasing: loop.scratch.prefix(isLast ? Self.putFrameBytes : 0))
    let reception = unsafe link.receive(into: room, then: control)
    guard case .bytes(let count) = reception else { return reception }
    isDry = count < room.count + control.count && link.handshake == .none
    let payload = min(count, room.count)
    take(payload, now: loop.now())
    decoder.payloadArrived(payload)
    if count > payload { unsafe append(control, count - payload) }
    return reception
  }

  private func discardPayload(on loop: isolated Loop) -> Reception {
    let wanted = unsafe min(decoder.payloadRemaining, loop.scratch.count)
    let reception = unsafe link.receive(
      into: UnsafeMutableRawBufferPointer(rebasing: loop.scratch.prefix(wanted)))
    if case .bytes(let count) = reception {
      isDry = count < wanted && link.handshake == .none
      linkCounter.count(copied: count)
      decoder.payloadArrived(count)
    }
    return reception
  }

  private func append(_ buffer: UnsafeMutableRawBufferPointer, _ count: Int) {
    let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer.prefix(count))
    unsafe decoder.append(Span(_unsafeBytes: bytes))
  }

  /// Handles all whole frames that have arrived; false if the session is ending.
  private func handleFrames(on loop: isolated Loop) -> Bool {
    do {
      while !closesWhenFlushed, !isClosed, refusal == nil {
        takeBufferedPayload(on: loop)
        if copiedInTurn > Self.readBudgetBytes {
          hasWaitingFrames = true
          return false
        }
        guard let header = try decoder.nextFrame() else { break }
        handle(header, on: loop)
      }
    } catch {
      context.counters.countFramingFault()
      goAway(.badRequest, error.fault)
    }
    refundBody()
    return !closesWhenFlushed && !isClosed && refusal == nil
  }

  /// The front of a payload may have come along with its header: it moves to its place.
  private func takeBufferedPayload(on loop: isolated Loop) {
    while decoder.payloadRemaining > 0 {
      guard let room = unsafe payloadTransfer?.room(for: decoder.payloadRemaining) else {
        let skipped = decoder.skipBufferedPayload()
        linkCounter.count(copied: skipped)
        guard skipped > 0 else { return }
        continue
      }
      var target = unsafe MutableSpan<UInt8>(_unsafeBytes: room)
      let count = decoder.takeBufferedPayload(into: &target)
      guard count > 0 else { return }
      take(count, now: loop.now())
    }
  }

  /// Counts and hashes payload that lies in its place.
  private func take(_ count: Int, now: Instant) {
    payloadTransfer?.received(count, now: now)
    linkCounter.count(copied: count)
    linkCounter.count(hashed: count)
  }

  /// Does what the machine makes of a frame.
  private func handle(_ header: FrameHeader, on loop: isolated Loop) {
    payloadTransfer = nil
    let now = loop.now()
    let action = machine.receive(
      header, body: decoder.body, intact: decoder.bodyIsIntact, now: now)
    switch action {
    case .hello(let hello, let id): welcome(hello, id, now: now, on: loop)
    case .execute(let request, let id, let deadline):
      context.counters.countRequest()
      lastRequestAt = now
      execute(request, id, deadline: deadline, arrival: now, on: loop)
    case .data(let data, let length): take(data, length, now: now, on: loop)
    case .refuse(let id, let op, let status, let fault):
      sendError(id, op, Refusal(status, fault), arrival: now, now: loop.now())
    case .skip: break
    case .goAway(let status, let fault): goAway(status, fault)
    }
  }

  /// Takes bytes of a transfer: those that follow, those of the window, or those to be fetched.
  private func take(_ data: PutDataRequest, _ length: Int, now: Instant, on loop: isolated Loop) {
    if case .remote(let region) = data.source { return readRemotely(data, region, on: loop) }
    let transfer = transfers[data.transferID]
    transfer?.expect(offset: data.offset, length: length, now: now)
    // What was reserved was paid for at BEGIN.
    if transfer?.isReceiving != true { member?.gate.chargeBytes(length, now: now) }
    if case .window(let offset, let byteCount) = data.source {
      if let transfer { takeFromWindow(transfer, offset: offset, byteCount: byteCount, now: now) }
    } else {
      payloadTransfer = transfer
    }
  }
}
