internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// What a client on the same host may do with memory: read in place, and put from its window.
extension Session {
  /// Descriptors that may wait to be sent on one connection.
  static let descriptorsMax = 16

  /// Shares memory with the client behind this connection, if it may have it.
  func makeShare(of member: Member) -> MemoryShare? {
    guard kind == .unix, let peer = link.peerCredentials,
      context.sharedMemory.admits(peer, context.settings.values.sharedMemory)
    else { return nil }
    let use = MemoryShareUse(
      connection: owner.number, namespace: member.namespace.name.text, peer: peer)
    return MemoryShare(context.sharedMemory, pool: context.pool, use: use)
  }

  // MARK: Reading in place

  /// Answers a GET with where its bytes lie; they stay there until the lease ends.
  func lend(
    _ reply: consuming GetReply, _ leaseMilliseconds: UInt32, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    guard let share else { preconditionFailure("the machine lets no such GET through") }
    let descriptors = reply.descriptors
    guard let lease = reply.lease else {
      send(.get(GetResponse(descriptors: descriptors, inPlace: .empty)), call.id)
      return
    }
    let milliseconds = leaseTime(leaseMilliseconds)
    let ends = loop.now().advanced(milliseconds: milliseconds)
    guard let number = share.hold(lease, until: ends) else { throw .noMemory("leases") }
    loop.wake(at: ends)
    sharedCounter.count(sent: UInt64(lease.byteCount))
    member?.gate.counters.countSent(UInt64(lease.byteCount))
    let answer = InPlaceAnswer(
      leaseID: number, leaseMilliseconds: UInt32(clamping: milliseconds), hits: reply.places)
    send(.get(GetResponse(descriptors: descriptors, inPlace: answer)), call.id)
  }

  /// MAP_SLAB: passes a slab of which something is lent to this connection now.
  func mapSlab(_ request: MapSlabRequest, _ call: Call, now: Instant) throws(Refusal) {
    try requireDescriptorRoom()
    guard let share else { preconditionFailure("the machine lets no such request through") }
    let (byteCount, descriptor) = try share.openSlab(request.slabID)
    send(.mapSlab(MapSlabResponse(byteCount: byteCount)), call.id, passing: descriptor)
    ended(call, .ok, now: now)
  }

  private func requireDescriptorRoom() throws(Refusal) {
    let waiting = link.queuedDescriptors
    guard waiting >= Self.descriptorsMax else { return }
    throw Refusal(
      .busy,
      FieldFault(
        "descriptors", value: waiting, limit: Self.descriptorsMax, "wait to be received"),
      retryAfterMilliseconds: 1)
  }

  // MARK: Putting from the window

  /// OPEN_WINDOW: memory that this client alone writes.
  func openWindow(_ request: OpenWindowRequest, _ call: Call, now: Instant) throws(Refusal) {
    guard let share, share.window == nil else {
      throw Refusal(
        .outOfSequence, FieldFault("byteCount", value: 2, limit: 1, "the window is open"))
    }
    try requireDescriptorRoom()
    let opened = share.openWindow(request.byteCount, context.settings.values)
    guard let (byteCount, descriptor) = opened else { throw .noMemory("byteCount") }
    send(.openWindow(OpenWindowResponse(byteCount: byteCount)), call.id, passing: descriptor)
    ended(call, .ok, now: now)
  }

  /// Takes the bytes of a PUT_DATA out of the window, at once: what is answered later tells the
  /// client that it may write there again.
  ///
  /// The checksum is that of the copy: the client can still change the window, but not the copy.
  func takeFromWindow(_ transfer: Transfer, offset: Int, byteCount: Int, now: Instant) {
    guard let share, transfer.isReceiving else { return }
    guard offset <= share.windowBytes - byteCount else {
      let (end, isTooFar) = offset.addingReportingOverflow(byteCount)
      return transfer.fail(
        .fault(
          FieldFault(
            "windowOffset", value: isTooFar ? .max : end, limit: share.windowBytes,
            "beyond the window's end")))
    }
    guard let window = share.window,
      transfer.copy(offset..<offset + byteCount, of: window, now: now)
    else {
      return transfer.fail(
        .fault(
          FieldFault(
            "windowOffset", value: offset, limit: share.windowBytes, "cannot be read there")))
    }
    sharedCounter.count(received: UInt64(byteCount))
    sharedCounter.count(copied: byteCount)
    sharedCounter.count(hashed: byteCount)
    member?.gate.counters.countReceived(UInt64(byteCount))
    copiedInTurn += byteCount
  }

  private func send(_ response: Response, _ id: UInt64, passing descriptor: Int32) {
    var writer = ByteWriter(capacity: 192)
    encoder.response(response, id: id, to: &writer)
    link.send(writer.bytes, passing: descriptor)
  }
}
