internal import DequeModule
internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// GET by a deadline: what can be there in time is sent, the rest of the chain is left to be
/// computed again.
extension Session {
  /// Items that RAM has in another form than the disk, and that had better be sent in the disk's:
  /// because only so all is there in time, or because there is time for a better one.
  ///
  /// None for one who does not adapt, or whose connection's speed nobody knows.
  func chosenBelow(_ get: GetRequest, _ call: Call, now: Instant) -> Set<ObjectKey> {
    guard let adaptation = get.adaptation,
      get.items.allSatisfy({ $0.selection == .whole })
    else { return [] }
    var chunks: [DeliveryChunk] = []
    var isInRAM: [Bool] = []
    for (index, item) in get.items.enumerated() {
      guard let kept = context.pool.forms(of: item.key, in: call.namespace),
        let chunk = DeliveryChunk(kept, isLast: get.endsChunk(index), for: get)
      else { break }
      chunks.append(chunk)
      isInRAM.append(kept.isInRAM)
    }
    let isOpen = zip(chunks, isInRAM).contains { chunk, isInRAM in
      isInRAM && chunk.forms.contains { $0.readBytes > 0 }
    }
    guard isOpen else { return [] }
    let choice = choice(chunks, adaptation, of: get, call, now: now)
    guard choice.seconds != nil else { return [] }
    var below: Set<ObjectKey> = []
    for (index, chunk) in chunks.enumerated() where isInRAM[index] {
      guard let form = choice.form(of: chunk, at: index), form.readBytes > 0 else { continue }
      below.insert(get.items[index].key)
    }
    return below
  }

  private func choice(
    _ chunks: [DeliveryChunk], _ adaptation: Adaptation, of get: GetRequest, _ call: Call,
    now: Instant
  ) -> DeliveryChoice {
    DeliveryChoice(
      chunks, within: Double(call.deadline.nanoseconds(since: now)) / 1e9,
      rates(adaptation, place: get.place.kind), bytesAhead: link.queuedBytes)
  }

  /// Looks for the items, chooses among what is there, and adds it to the answer.
  ///
  /// Behind the first item that is not there nothing is sent: KV is of use behind its prefix only.
  func chooseItems(
    of get: GetRequest, _ adaptation: Adaptation, _ call: Call, fetch: Fetch?, isLate: Bool,
    for reply: inout GetReply, now: Instant
  ) throws(Refusal) {
    var hits = UniqueDeque<ReadLease>()
    var chunks: [DeliveryChunk] = []
    var cause: MissCause?
    for (index, item) in get.items.enumerated() where cause == nil {
      switch found(item, of: get, call.namespace, fetch: fetch, isLate: isLate) {
      case .miss(.overDeadline): cause = .recompute
      case .miss(let found): cause = found
      case .hit(let hit):
        chunks.append(try chunk(of: hit, at: index, in: get, call.namespace))
        hits.append(hit)
      }
    }
    let choice = choice(chunks, adaptation, of: get, call, now: now)
    context.deliveries.countAdapted()
    for item in get.items.prefix(choice.sentCount) {
      try add(hits.removeFirst(), item, of: get, call.namespace, to: &reply)
    }
    for index in choice.sentCount..<get.items.count {
      reply.miss(index == chunks.count ? cause ?? .recompute : .recompute)
    }
  }

  /// What sending an item takes, in the one form that it is in now, and computing it again.
  private func chunk(
    of hit: borrowing ReadLease, at index: Int, in get: GetRequest, _ namespace: Namespace
  ) throws(Refusal) -> DeliveryChunk {
    do {
      let byteCount = try selected(get.items[index].selection, of: hit, namespace)
        .reduce(0) { $0 + $1.count }
      return DeliveryChunk(
        rawByteCount: hit.object.byteCount,
        tokenCount: get.endsChunk(index) ? hit.object.tokenCount : 0,
        forms: [DeliveryForm(codec: hit.codec, byteCount: byteCount)])
    } catch {
      throw .fault(error)
    }
  }

  /// What the client told and the connection showed; the slower of both speeds, since the kernel's
  /// buffers flatter what is measured here.
  private func rates(_ told: Adaptation, place: PayloadPlace) -> DeliveryRates {
    func rate(_ value: some BinaryInteger, times unit: Double = 1) -> Double? {
      value == 0 ? nil : Double(value) * unit
    }
    let speeds = [rate(told.bytesPerSecond), sendRate.perSecond].compactMap { $0 }
    return DeliveryRates(
      // In shared memory nothing travels.
      bytesPerSecond: place == .sharedMemory ? .infinity : speeds.min(),
      decodedPerSecond: rate(told.decodeMegabytesPerSecond, times: 1e6),
      transformedPerSecond: rate(told.transformMegabytesPerSecond, times: 1e6),
      tokensPerSecond: rate(told.prefillTokensPerSecond),
      readPerSecond: context.readPerSecond)
  }
}

extension GetRequest {
  /// Whether no other part of the same chunk follows an item: the chunk's tokens count with it.
  fileprivate func endsChunk(_ index: Int) -> Bool {
    index + 1 == items.count || items[index + 1].key.hash != items[index].key.hash
  }
}
