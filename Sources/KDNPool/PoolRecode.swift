package import KDNCore
internal import KDNMemory
internal import KDNTier

extension Pool {
  /// Objects of one page of a recoding.
  private static let pageObjects = 64
  /// Objects of one recoding that are under way at a time: each takes memory.
  private static let pendingMax = 4
  /// Objects that are counted without a pause.
  private static let countedMax = 4096

  /// Gives objects of a tenant another form, in the background and behind all other coding; codec 0
  /// brings exact forms back to what was stored.
  ///
  /// What has a lossy form keeps it. `tick` drives it; it ends when all that was there at the
  /// beginning was looked at, and calls `whenOver` once, on any thread. Nil without `startCoding`.
  package func recode(
    _ order: RecodingOrder, in namespace: Namespace,
    whenOver: @escaping @Sendable (Recoding.Progress) -> Void = { _ in }
  ) -> Recoding? {
    guard let coding = coding.withLock({ $0 }) else { return nil }
    bringInSight(order.codec)
    let recoding = Recoding(namespace, order, whenOver: whenOver)
    coding.state.withLock { $0.recodings.append(recoding) }
    return recoding
  }

  /// The codec that the policy gives raw objects of a tenant in RAM; nil: they stay raw there.
  package func codecInRAM(of namespace: NamespaceName) -> UInt8? {
    coding.withLock { $0 }?.policy.rules.first { rule in
      rule.tier == .ram && rule.codec != StoredForm.raw
        && (rule.namespace == nil || rule.namespace == namespace)
    }?.codec
  }

  /// Counts first, then puts as many objects in the queue as have room there.
  func advance(_ recoding: Recoding, _ coding: Coding) {
    guard recoding.beginAdvance() else { return }
    if recoding.beginCounting() {
      if !add(.count(recoding), recoding, ObjectKey(opaque: .none), coding) {
        recoding.putCountingBack()
      }
    } else if recoding.progress.isCounted {
      readPage(recoding)
      while let key = recoding.nextKey(pendingMax: Self.pendingMax) {
        guard add(.recode(key, recoding), recoding, key, coding) else {
          recoding.putBack(key)
          break
        }
      }
    }
    if recoding.endAdvance() {
      coding.state.withLock { $0.recodings.removeAll { $0 === recoding } }
    }
  }

  /// Half of the queue is left to what is on its way to the disk.
  private func add(
    _ purpose: EncodeJob.Purpose, _ recoding: Recoding, _ key: ObjectKey, _ coding: Coding
  ) -> Bool {
    let name = WaitTable.Name(namespace: recoding.namespace.number, key: key)
    let job = EncodeJob(name: name, codec: recoding.order.codec, purpose: purpose)
    return coding.state.withLock { state in
      state.placesLeft > coding.settings.queuedMax / 2 && state.add(job)
    }
  }

  // MARK: What there is

  private func readPage(_ recoding: Recoding) {
    let (isWanted, after) = recoding.state.withLock { state in
      (!state.hasAll && state.waiting.isEmpty, state.cursor)
    }
    guard isWanted else { return }
    let (keys, next) = page(of: recoding, after: after)
    recoding.state.withLock { state in
      guard !state.progress.isCancelled else { return }
      state.waiting = keys
      state.cursor = next
      state.hasAll = next == nil
    }
  }

  /// Names of objects of the scope, and where the listing goes on; nil at its end.
  private func page(of recoding: Recoding, after: String?) -> ([ObjectKey], next: String?) {
    let order = recoding.order
    if case .keys(let keys) = order.scope {
      let start = min(after.flatMap { Int($0) } ?? 0, keys.count)
      let end = min(start + Self.pageObjects, keys.count)
      return (keys[start..<end].filter(order.includes), end < keys.count ? String(end) : nil)
    }
    let page = try? objects(in: recoding.namespace, after: after, limit: Self.pageObjects)
    return (page?.objects.map(\.key).filter(order.includes) ?? [], page?.next)
  }

  /// Counts a piece of the scope.
  func count(_ recoding: Recoding, _ coding: Coding) {
    var found = RecodingCount()
    var cursor = recoding.state.withLock { $0.cursor }
    var looked = 0
    repeat {
      let (keys, next) = page(of: recoding, after: cursor)
      for key in keys {
        let place = place(of: key, recoding)
        found.add(place.decision, bytes: place.bytes)
      }
      looked += Self.pageObjects
      cursor = next
    } while cursor != nil && looked < Self.countedMax
    recoding.endCounting(found, next: cursor)
    advance(recoding, coding)
  }

  /// An object as both tiers have it.
  private struct RecodePlace {
    let object: StoredObject?
    let body: StoredBody?
    let held: HeldFacts?
    let decision: RecodingDecision
    /// As they are kept in the first tier that the order names.
    let bytes: Int
  }

  private func place(of key: ObjectKey, _ recoding: Recoding) -> RecodePlace {
    let object = live(key, in: recoding.namespace, now: clock.now())
    let body = object?.body
    let held = backing?.held(key, in: recoding.namespace)
    let inRAM = body.flatMap { body in object.map { RecodableForm(body.form, of: $0.checksum) } }
    let decision = RecodingDecision(
      ram: inRAM, below: held.map { RecodableForm($0.form, of: $0.checksum) }, recoding.order)
    let countsRAM = recoding.order.tiers.contains(.ram)
    return RecodePlace(
      object: object, body: body, held: held, decision: decision,
      bytes: (countsRAM ? body?.block.byteCount : nil) ?? held?.storedBytes ?? 0)
  }

  // MARK: One object

  /// Gives one object another form where the order wants it.
  func recode(_ key: ObjectKey, _ recoding: Recoding, _ coding: Coding) {
    let place = place(of: key, recoding)
    let step = RecodeStep(
      recoding: recoding, decision: place.decision, bytes: place.bytes, coding: coding)
    if let obstacle = place.decision.obstacle { return end(step, .declined(obstacle)) }
    if place.decision.readsRAM, let object = place.object, let body = place.body {
      return finish(step, CodingSubject(object), object.tierFacts(nil), body, object)
    }
    guard let backing, !backing.isClosing, let held = place.held else {
      return end(step, .declined(.gone))
    }
    read(key, held, step, backing)
  }

  /// Reads an object from the slower tier, and goes on with it.
  private func read(
    _ key: ObjectKey, _ held: HeldFacts, _ step: RecodeStep, _ backing: Backing
  ) {
    let namespace = step.recoding.namespace
    guard let room = takeReadRoom(held.storedBytes, namespace, backing) else {
      return end(step, .declined(.withoutRoom))
    }
    backing.tier.read(key, in: namespace.name, into: room.memory) { reading in
      guard case .whole(let facts) = reading, facts.storedBytes == room.memory.byteCount,
        let memory = room.memory.take()
      else { return self.end(step, .declined(.gone)) }
      let body = StoredBody(
        memory.seal(keeping: room.takeQuota()), form: facts.form, checksum: facts.storedChecksum)
      let coding = step.coding
      coding.encodes.run {
        let start = self.clock.now()
        self.finish(step, CodingSubject(facts, in: namespace), facts, body, nil)
        let nanoseconds = self.clock.now().nanoseconds(since: start)
        coding.state.withLock { $0.spend(nanoseconds) }
      }
    }
  }

  /// Room for a moment: staging memory, so that nothing is evicted for it, else RAM.
  private func takeReadRoom(
    _ byteCount: Int, _ namespace: Namespace, _ backing: Backing
  ) -> DecodeRoom? {
    if let memory = backing.staging?.reserve(byteCount: byteCount, owner: namespace.owner) {
      return DecodeRoom(memory, quota: nil)
    }
    return takeRoom(byteCount, namespace, now: clock.now())
  }

  /// One object that is given another form.
  private struct RecodeStep: Sendable {
    let recoding: Recoding
    let decision: RecodingDecision
    let bytes: Int
    let coding: Coding
  }

  /// Notes the end of one object, and goes on with the next.
  private func end(_ step: RecodeStep, _ outcome: Recoding.Outcome) {
    step.coding.count { counts in
      if case .recoded = outcome { counts.recoded += 1 } else { counts.recodesDeclined += 1 }
    }
    step.recoding.end(outcome, bytes: step.bytes)
    advance(step.recoding, step.coding)
    pumpEncodes(step.coding)
  }

  private func finish(
    _ step: RecodeStep, _ subject: CodingSubject, _ facts: ObjectFacts, _ body: StoredBody,
    _ object: StoredObject?
  ) {
    let codec = step.recoding.order.codec
    let target: StoredBody
    switch transcode(body, subject, step) {
    case .success(let made): target = made
    case .failure(let refusal): return end(step, .declined(refusal.obstacle))
    }
    var isReplaced = false
    if step.decision.changesRAM, let object { isReplaced = swap(body, for: target, of: object) }
    if isReplaced { step.coding.count { $0.replaced += 1 } }
    let outcome: Recoding.Outcome =
      isReplaced
      ? .recoded(before: body.block.byteCount, after: target.block.byteCount) : .declined(.gone)
    // It may have changed or gone meanwhile.
    guard step.decision.changesBelow, let backing,
      let held = backing.held(subject.key, in: step.recoding.namespace),
      case .whole(let known) = RecodableForm(held.form, of: held.checksum), known != codec
    else { return end(step, outcome) }
    rewrite(facts.inForm(target.form), target, step.coding, backing) { refusal in
      guard case .declined = outcome else { return self.end(step, outcome) }
      switch refusal {
      case nil:
        self.end(step, .recoded(before: held.storedBytes, after: target.block.byteCount))
      case .gone?: self.end(step, .declined(.gone))
      default: self.end(step, .declined(.notWritten))
      }
    }
  }

  /// Why an object was not given another form.
  private struct RecodeRefusal: Error {
    let obstacle: RecodingObstacle

    init(for obstacle: RecodingObstacle) { self.obstacle = obstacle }

    init(_ fault: EncodeFault) {
      switch fault {
      case .declined: obstacle = .doesNotPay
      case .failed: obstacle = .failed
      case .withoutProfile: obstacle = .withoutProfile
      case .withoutRoom: obstacle = .withoutRoom
      }
    }
  }

  /// The bytes in the wanted form, by way of the raw ones unless they have it.
  private func transcode(
    _ body: StoredBody, _ subject: CodingSubject, _ step: RecodeStep
  ) -> Result<StoredBody, RecodeRefusal> {
    let (namespace, codec) = (step.recoding.namespace, step.recoding.order.codec)
    guard (body.form?.codec ?? StoredForm.raw) != codec else { return .success(body) }
    var raw = body
    if body.form != nil {
      guard let room = takeRoom(subject.byteCount, namespace, now: clock.now()) else {
        return .failure(RecodeRefusal(for: .withoutRoom))
      }
      switch decode(body, subject, into: room, step.coding) {
      case .success(let decoded):
        raw = StoredBody(decoded.block, form: nil, checksum: decoded.checksum)
      case .failure(.undecodable): return .failure(RecodeRefusal(for: .withoutProfile))
      case .failure(.corrupt): return .failure(RecodeRefusal(for: .failed))
      }
    }
    guard codec != StoredForm.raw else { return .success(raw) }
    return encode(raw, subject, namespace, as: codec, step.coding).mapError { RecodeRefusal($0) }
  }
}
