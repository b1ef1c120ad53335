internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// The background encoder.
///
/// It runs on an executor of its own, has a share of the CPU, and begins nothing while requests
/// wait. Raw bytes are given up only after the encoded ones were decoded once and found right, and
/// on the disk only when the encoded ones are durable.
extension Pool {
  /// Lets the pool encode and decode, once, before it serves; the policy is off until it is set.
  ///
  /// `decoding` runs what readers wait for, `encoding` what nobody waits for: its threads should
  /// have the lowest priority.
  package func startCoding(
    _ coder: any ObjectCoder, decoding: any CodingExecutor, encoding: any CodingExecutor,
    settings: CodingSettings = CodingSettings()
  ) {
    let made = Coding(coder, decodes: decoding, encodes: encoding, settings)
    coding.withLock { coding in
      precondition(coding == nil, "coding is started once")
      coding = made
    }
  }

  /// Sets which objects are encoded from now on; nothing without `startCoding`.
  package func setEncodingPolicy(_ policy: EncodingPolicy) {
    for rule in policy.rules where rule.tier == .ram { bringInSight(rule.codec) }
    coding.withLock { $0 }?.state.withLock { $0.policy = policy }
  }

  /// Notes that raw objects in RAM may be given this form from now on.
  func bringInSight(_ codec: UInt8) {
    formsInSight.bitwiseOr(CodecSet.bit(of: codec), ordering: .acquiringAndReleasing)
  }

  /// Whether what is raw in RAM may be in a form that is not `accepted` a moment later.
  func mayBeEncoded(beyond accepted: CodecSet) -> Bool {
    formsInSight.load(ordering: .acquiring) & ~(accepted.rawValue | CodecSet.raw.rawValue) != 0
  }

  // MARK: Jobs

  /// Begins as many jobs as may be under way.
  func pumpEncodes(_ coding: Coding) {
    let isServing = coding.settings.isServing()
    while let job = coding.state.withLock({ $0.next(isServing: isServing) }) {
      coding.encodes.run { self.perform(job, coding) }
    }
  }

  private func perform(_ job: EncodeJob, _ coding: Coding) {
    let start = clock.now()
    switch job.purpose {
    case .write(let raw): write(raw, as: job.codec, coding)
    case .replace(let key, let namespace, let inRAM, let below):
      if let object = live(key, in: namespace, now: start), backing?.isClosing != true {
        replace(object, as: job.codec, inRAM: inRAM, below: below, coding)
      }
    case .recode(let key, let recoding): recode(key, recoding, coding)
    case .count(let recoding): count(recoding, coding)
    case .materialise(let item, let job): materialise(item, job, coding)
    }
    let nanoseconds = clock.now().nanoseconds(since: start)
    coding.state.withLock { $0.end(job, nanoseconds: nanoseconds) }
    pumpEncodes(coding)
  }

  /// Does what is due: looks for cold objects, and goes on with what waits.
  func tickCoding(now: Instant) {
    guard let coding = coding.withLock({ $0 }) else { return }
    coding.state.withLock { $0.tick(now: now) }
    writeOverdue(now: now, coding)
    offerCold(coding)
    for recoding in coding.state.withLock({ $0.recodings }) { advance(recoding, coding) }
    for job in coding.state.withLock({ $0.materialisations }) { advance(job, coding) }
    pumpEncodes(coding)
  }

  /// Offers objects in RAM that nobody has used for long.
  private func offerCold(_ coding: Coding) {
    let (policy, start, places) = coding.state.withLock {
      ($0.policy, $0.coldSlot, $0.placesLeft)
    }
    guard policy.concernsRAM, places > 0 else { return }
    let second = presentSecond
    let slotsMax = coding.settings.slotsPerTick
    let (found, next) = residency.withLock { residency in
      residency.cold(from: start, slotsMax: slotsMax, limit: places, policy, second: second)
    }
    coding.state.withLock { $0.coldSlot = next }
    for (object, codec) in found {
      let below = object.isHeld && self.codec(for: object, .disk, policy) == codec
      let job = EncodeJob(
        name: object.waitName, codec: codec,
        purpose: .replace(object.key, object.namespace, inRAM: true, below: below))
      _ = coding.state.withLock { $0.add(job) }
    }
  }

  /// The codec that a policy wants for a raw object; nil: none.
  func codec(
    for object: StoredObject, _ tier: CodingTier, _ policy: EncodingPolicy
  ) -> UInt8? {
    let codec = policy.codec(for: object.encodingSubject(tier, second: presentSecond))
    return codec.flatMap { object.hasDeclined($0) ? nil : $0 }
  }

  // MARK: In RAM

  private func replace(
    _ object: StoredObject, as codec: UInt8, inRAM: Bool, below: Bool, _ coding: Coding
  ) {
    let raw = object.body
    var encoded = raw
    if raw.form == nil {
      switch encode(raw, CodingSubject(object), object.namespace, as: codec, coding) {
      case .success(let made): encoded = made
      case .failure(let fault):
        if fault != .withoutRoom { object.decline(codec) }
        return
      }
    }
    if inRAM, raw.form == nil, swap(raw, for: encoded, of: object) {
      coding.count { $0.replaced += 1 }
    }
    if below, let backing, encoded.form != nil {
      let now = clock.now()
      guard backing.writes.withLock({ $0.pay(encoded.block.byteCount, now: now) }) else {
        return coding.count { $0.rewritesRefused += 1 }
      }
      rewrite(object.tierFacts(encoded.form), encoded, coding, backing) { _ in }
    }
  }

  /// Gives the slower tier other bytes of an object that it holds.
  func rewrite(
    _ facts: ObjectFacts, _ body: StoredBody, _ coding: Coding, _ backing: Backing,
    completion: @escaping @Sendable (TierRefusal?) -> Void
  ) {
    guard !backing.isClosing else { return completion(.closing) }
    backing.tier.rewrite(facts, TierBytes(body.block.lease())) { result in
      switch result {
      case .success:
        coding.count { $0.rewritten += 1 }
        completion(nil)
      case .failure(let refusal):
        coding.count { $0.rewritesRefused += 1 }
        completion(refusal)
      }
    }
  }

  // MARK: Encoding

  /// Why there are no encoded bytes.
  enum EncodeFault: Error, Equatable {
    case declined
    case failed
    case withoutProfile
    case withoutRoom
  }

  /// Encodes raw bytes on this thread, decodes them once, and compares.
  func encode(
    _ raw: StoredBody, _ subject: CodingSubject, _ namespace: Namespace, as codec: UInt8,
    _ coding: Coding
  ) -> Result<StoredBody, EncodeFault> {
    let result = encodeChecked(raw, subject, namespace, as: codec, coding)
    coding.count { counts in
      switch result {
      case .success(let body):
        counts.encoded += 1
        counts.encodedRawBytes += UInt64(subject.byteCount)
        counts.encodedBytes += UInt64(body.block.byteCount)
      case .failure(.declined): counts.declined += 1
      case .failure(.failed), .failure(.withoutProfile): counts.failed += 1
      case .failure(.withoutRoom): counts.withoutRoom += 1
      }
    }
    return result
  }

  private func encodeChecked(
    _ raw: StoredBody, _ subject: CodingSubject, _ namespace: Namespace, as codec: UInt8,
    _ coding: Coding
  ) -> Result<StoredBody, EncodeFault> {
    // The encoder's bytes, and those that are decoded to compare.
    let scratchBytes = 2 * subject.byteCount
    guard chargeBuffers(scratchBytes) else { return .failure(.withoutRoom) }
    defer { refundBuffers(scratchBytes) }
    // What is wrong already must not be made to look right.
    guard raw.block.checksum == subject.checksum else { return .failure(.failed) }
    let made: Encoding
    switch raw.block.withBytes({ coding.coder.encode($0, subject, as: codec) }) {
    case .encoded(let encoding): made = encoding
    case .declined: return .failure(.declined)
    case .withoutProfile: return .failure(.withoutProfile)
    case .failed: return .failure(.failed)
    }
    guard !made.bytes.isEmpty, made.bytes.count < subject.byteCount else {
      return .failure(.declined)
    }
    let form = StoredForm(
      codec: codec, byteCount: made.bytes.count, checksum: Checksum(of: made.bytes),
      decodedChecksum: made.decodedChecksum, profile: made.profile)
    guard !coding.coder.isExact(codec) || form.isExact(of: subject.checksum) else {
      return .failure(.failed)
    }
    let now = clock.now()
    guard let room = takeRoom(made.bytes.count, namespace, now: now),
      let memory = room.memory.take()
    else { return .failure(.withoutRoom) }
    memory.write(made.bytes)
    let body = StoredBody(
      memory.seal(keeping: room.takeQuota()), form: form, checksum: form.checksum)
    return isRight(body, form, subject, coding) ? .success(body) : .failure(.failed)
  }

  private func isRight(
    _ body: StoredBody, _ form: StoredForm, _ subject: CodingSubject, _ coding: Coding
  ) -> Bool {
    guard body.block.checksum == form.checksum else { return false }
    let scratch = PageBuffer(byteCount: subject.byteCount)
    let answer = body.block.withBytes { encoded in
      scratch.withBytes(first: subject.byteCount) {
        coding.coder.decode(encoded, form, subject, into: &$0)
      }
    }
    guard case .decoded = answer else { return false }
    return scratch.checksum(first: subject.byteCount) == form.decodedChecksum
  }
}

extension StoredObject {
  var waitName: WaitTable.Name { WaitTable.Name(namespace: namespace.number, key: key) }

  /// What an encoding policy may know.
  func encodingSubject(_ tier: CodingTier, second: UInt32) -> EncodingSubject {
    EncodingSubject(
      namespace: namespace.name, kind: key.kind, tier: tier, byteCount: byteCount,
      idleSeconds: Int(second) - Int(min(second, secondOfLastUse)))
  }
}

extension Residency {
  /// Objects kept raw, in some slots from `start` on, for which a policy wants a codec in RAM, and
  /// the slot to go on with.
  fileprivate func cold(
    from start: Int, slotsMax: Int, limit: Int, _ policy: EncodingPolicy, second: UInt32
  ) -> ([(object: StoredObject, codec: UInt8)], next: Int) {
    let count = chains.slotCount
    guard count > 0 else { return ([], 0) }
    var found: [(object: StoredObject, codec: UInt8)] = []
    var slot = start < count ? start : 0
    for _ in 0..<min(slotsMax, count) where found.count < limit {
      if let object = chains.object(in: slot), object.body.form == nil,
        let codec = policy.codec(for: object.encodingSubject(.ram, second: second)),
        !object.hasDeclined(codec)
      {
        found.append((object, codec))
      }
      slot = slot + 1 < count ? slot + 1 : 0
    }
    return (found, slot)
  }
}
