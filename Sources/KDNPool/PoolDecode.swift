internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// Decoding for readers who do not take the form that an object is kept in.
extension Pool {
  /// Whether the bytes that RAM has of an object could be given raw.
  func canDecode(_ object: StoredObject) -> Bool { canDecode(object.body.form) }

  /// Whether bytes of this form could be given raw.
  func canDecode(_ form: StoredForm?) -> Bool {
    guard let form else { return true }
    return coding.withLock { $0 }?.coder.canDecode(form) ?? false
  }

  /// Decodes what `outcome` holds for a fetch that does not take its form, or joins who does so;
  /// the fetch counts it as under way.
  ///
  /// The caller pursues the fetch after this.
  func decode(_ outcome: Fetch.Outcome, for fetch: Fetch) {
    guard let hold = outcome.hold, let form = hold.body.form else {
      preconditionFailure("nothing to decode")
    }
    let key = hold.object.key
    guard let coding = coding.withLock({ $0 }), coding.coder.canDecode(form) else {
      return fetch.deliver(.missed(.undecodable), for: key)
    }
    let waiter = CodingState.Waiter(outcome: outcome, fetch: fetch)
    switch coding.state.withLock({ $0.join(waiter, hold) }) {
    case .joined: break
    case .full: fetch.deferRead(of: key)
    case .first(let flight):
      guard let room = takeRoom(for: flight) else {
        let waiters = coding.state.withLock { $0.remove(flight) }
        for waiter in waiters { waiter.fetch.deferRead(of: key) }
        for waiter in waiters where waiter.fetch !== fetch { pursue(waiter.fetch) }
        return
      }
      coding.decodes.run { self.decode(flight, into: room, coding) }
    }
  }

  /// Room for decoded bytes: RAM within the tenant's quota, else staging memory.
  private func takeRoom(for flight: DecodeFlight) -> DecodeRoom? {
    let (now, object) = (clock.now(), flight.hold.object)
    let (byteCount, namespace) = (object.byteCount, object.namespace)
    if let room = takeRoom(byteCount, namespace, now: now) { return room }
    guard let memory = backing?.staging?.reserve(byteCount: byteCount, owner: namespace.owner)
    else { return nil }
    return DecodeRoom(memory, quota: nil)
  }

  /// Room in RAM within the tenant's quota, evicting as needed; nil if nothing can go.
  func takeRoom(_ byteCount: Int, _ namespace: Namespace, now: Instant) -> DecodeRoom? {
    guard arena.canEverHold(byteCount: byteCount),
      let quota = try? takeQuota(byteCount, namespace, now: now),
      let memory = try? takeMemory(byteCount, namespace, now: now)
    else { return nil }
    return DecodeRoom(memory, quota: quota)
  }

  private func decode(_ flight: DecodeFlight, into room: DecodeRoom, _ coding: Coding) {
    let object = flight.hold.object
    let isInRAM = room.isInRAM
    switch decode(flight.hold.body, CodingSubject(object), into: room, coding) {
    case .success(let body):
      coding.count { counts in
        counts.decoded += 1
        counts.decodedBytes += UInt64(body.block.byteCount)
      }
      if isInRAM { keepIfHot(body, flight, coding) }
      land(flight, coding) { outcome in
        let hold = Fetch.Hold(object, body)
        if case .inRAM = outcome { return .inRAM(hold) }
        return .read(hold)
      }
    case .failure(.undecodable):
      land(flight, coding) { _ in .missed(.undecodable) }
    case .failure(.corrupt):
      coding.count { $0.decodesFailed += 1 }
      dropDamaged(flight.hold)
      land(flight, coding) { _ in .missed(.corrupt) }
    }
  }

  /// Drops what cannot be decoded: bytes that were altered in memory from there alone, for the
  /// slower tier may have them right; others everywhere, so that the name is free for right ones.
  private func dropDamaged(_ hold: Fetch.Hold) {
    let object = hold.object
    guard hold.body.block.checksum != hold.body.checksum else {
      return purge(.keys([object.key]), in: object.namespace) { _ in }
    }
    residency.withLock { residency in
      guard object.slot >= 0, object.body === hold.body else { return }
      drop(object, from: &residency, .corrupt)
    }
  }

  /// Why there are no decoded bytes.
  enum DecodeFault: Error {
    case undecodable
    case corrupt
  }

  /// Decodes bytes on this thread, and checks what came out.
  func decode(
    _ body: StoredBody, _ subject: CodingSubject, into room: DecodeRoom, _ coding: Coding
  ) -> Result<StoredBody, DecodeFault> {
    guard let form = body.form, let memory = room.memory.take() else {
      preconditionFailure("nothing to decode, or no room")
    }
    let answer = body.block.withBytes { encoded in
      memory.withBytes { coding.coder.decode(encoded, form, subject, into: &$0) }
    }
    switch answer {
    case .undecodable: return .failure(.undecodable)
    case .failed: return .failure(.corrupt)
    case .decoded: break
    }
    let checksum = memory.checksum
    guard checksum == form.decodedChecksum,
      !coding.coder.isExact(form.codec) || checksum == subject.checksum
    else { return .failure(.corrupt) }
    return .success(
      StoredBody(
        memory.seal(keeping: room.takeQuota()), form: nil, checksum: checksum,
        decodedFrom: form.codec))
  }

  private func keepIfHot(_ body: StoredBody, _ flight: DecodeFlight, _ coding: Coding) {
    let object = flight.hold.object
    guard let uses = coding.policy.keepsDecodedFromUse, object.useCount >= uses,
      body.checksum == object.checksum
    else { return }
    let kept = StoredBody(body.block, form: nil, checksum: body.checksum)
    if swap(flight.hold.body, for: kept, of: object) { coding.count { $0.replaced += 1 } }
  }

  private func land(
    _ flight: DecodeFlight, _ coding: Coding,
    _ outcome: (Fetch.Outcome) -> Fetch.Outcome
  ) {
    let waiters = coding.state.withLock { $0.remove(flight) }
    for waiter in waiters {
      waiter.fetch.deliver(outcome(waiter.outcome), for: flight.hold.object.key)
    }
    for waiter in waiters { pursue(waiter.fetch) }
  }

  /// Gives an object in RAM its bytes in another form, if it is there still and they have not
  /// changed; says whether it did.
  func swap(_ old: StoredBody, for new: StoredBody, of object: StoredObject) -> Bool {
    residency.withLock { residency in
      guard object.slot >= 0, object.body === old, object.generation == object.namespace.generation
      else { return false }
      residency.setBody(new, of: object)
      return true
    }
  }
}

/// Room that is decoded into.
final class DecodeRoom: Sendable {
  let memory: TierRoom
  private let quota: Guarded<QuotaCharge?>
  /// Whether it is in RAM, charged to the tenant's quota; else in staging memory.
  let isInRAM: Bool

  init(_ memory: consuming Reservation, quota: QuotaCharge?) {
    self.memory = TierRoom(memory)
    self.quota = Guarded(quota)
    isInRAM = quota != nil
  }

  /// Takes the charge to the tenant's quota, once.
  func takeQuota() -> QuotaCharge? {
    quota.withLock { quota in
      defer { quota = nil }
      return quota
    }
  }
}
