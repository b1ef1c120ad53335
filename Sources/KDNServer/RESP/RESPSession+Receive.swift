internal import KDNCore
internal import KDNTransport
internal import KDNWire

extension RESPSession {
  /// Control bytes read at once; more may be a value, which would be copied.
  private static let controlReadBytes = 16 << 10
  /// Value bytes taken from the socket at once; small enough to be hashed while in cache.
  private static let valueReadBytes = 256 << 10
  /// Line end behind a value, and the front of the next command.
  private static let behindValueBytes = 512
  /// Bytes read before other connections get their turn.
  private static let readBudgetBytes = 8 << 20

  /// Reads until the socket is empty, the budget is spent, or a command has to wait.
  func receive(on loop: isolated Loop) {
    guard !closesWhenFlushed else { return drop(on: loop) }
    var budget = Self.readBudgetBytes
    while budget > 0, mayTake {
      let reception =
        decoder.valueRemaining > 0 ? receiveValue(on: loop) : receiveControl(on: loop)
      switch reception {
      case .bytes(let count): budget -= count
      case .wouldBlock: return
      case .ended: return close(on: loop)
      }
      guard handleEvents(on: loop) else { return }
      if isDry { return }
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
    let wanted = unsafe min(
      max(decoder.wantedControlBytes, Self.controlReadBytes), loop.scratch.count)
    // A line or an argument that is not whole stays in the decoder.
    guard charge(Self.restingBytes + decoder.heldBytes + wanted) else {
      fail(.outOfMemory)
      return .wouldBlock
    }
    let buffer = unsafe UnsafeMutableRawBufferPointer(
      rebasing: loop.scratch.prefix(wanted))
    let reception = unsafe link.receive(into: buffer)
    if case .bytes(let count) = reception {
      isDry = count < buffer.count
      unsafe append(buffer, count)
    }
    return reception
  }

  /// Receives straight into the extent, and what stands behind the value into the decoder.
  private func receiveValue(on loop: isolated Loop) -> Reception {
    let wanted = min(decoder.valueRemaining, Self.valueReadBytes)
    guard let room = unsafe store?.room(for: wanted) else { return discardValue(on: loop) }
    let isLast = wanted == decoder.valueRemaining
    let behind = unsafe UnsafeMutableRawBufferPointer(
      rebasing: loop.scratch.prefix(isLast ? Self.behindValueBytes : 0))
    let reception = unsafe link.receive(into: room, then: behind)
    guard case .bytes(let count) = reception else { return reception }
    isDry = count < room.count + behind.count
    let taken = min(count, room.count)
    take(taken)
    decoder.valueArrived(taken)
    if count > taken { unsafe append(behind, count - taken) }
    return reception
  }

  private func discardValue(on loop: isolated Loop) -> Reception {
    let wanted = unsafe min(decoder.valueRemaining, loop.scratch.count)
    let reception = unsafe link.receive(
      into: UnsafeMutableRawBufferPointer(rebasing: loop.scratch.prefix(wanted)))
    if case .bytes(let count) = reception {
      isDry = count < wanted
      linkCounter.count(copied: count)
      decoder.valueArrived(count)
    }
    return reception
  }

  private func append(_ buffer: UnsafeMutableRawBufferPointer, _ count: Int) {
    let bytes = unsafe UnsafeRawBufferPointer(rebasing: buffer.prefix(count))
    unsafe decoder.append(Span(_unsafeBytes: bytes))
  }

  /// Carries out all whole commands that have arrived, as far as none has to wait; false if the
  /// session takes nothing more now.
  func handleEvents(on loop: isolated Loop) -> Bool {
    do {
      while mayTake {
        takeBufferedValue()
        guard let event = try decoder.nextEvent() else { break }
        handle(event, on: loop)
      }
    } catch {
      context.counters.countFramingFault()
      fail(error)
    }
    if !isClosed, decoder.valueRemaining == 0 {
      _ = charge(Self.restingBytes + decoder.heldBytes)
    }
    return mayTake
  }

  /// The front of a value may have come along with its command: it moves to its place.
  private func takeBufferedValue() {
    while decoder.valueRemaining > 0 {
      guard let room = unsafe store?.room(for: decoder.valueRemaining) else {
        let skipped = decoder.skipBufferedValue()
        linkCounter.count(copied: skipped)
        guard skipped > 0 else { return }
        continue
      }
      var target = unsafe MutableSpan<UInt8>(_unsafeBytes: room)
      let count = decoder.takeBufferedValue(into: &target)
      guard count > 0 else { return }
      take(count)
    }
  }

  /// Counts and hashes bytes of a value that lie in their place.
  private func take(_ count: Int) {
    store?.received(count)
    linkCounter.count(copied: count)
    linkCounter.count(hashed: count)
  }
}
