import KDNCore
import KDNMemory
import KDNTier

extension DiskDriver {
  /// Does one random operation.
  func operate() throws {
    guard disk.isPowered, let tier else { return }
    watchWalk()
    defer { watchWalk() }
    if scenario.hasQuotas {
      try checkUsage()
      if random.isOne(in: 25) { try setQuota(tier) }
      // What a quota took away is not steady, even if the operation brings it back.
      watchWalk()
    }
    if random.isOne(in: 4) { checkReturning(tier) }
    switch random.number(below: 100) {
    case 0..<40: try write(tier)
    case 40..<44: try rewrite(tier)
    case 44..<51: try makeDurable(tier)
    case 51..<62: try read(anyName(), tier)
    case 62..<70: try purge(tier)
    case 70..<74: try pin(tier)
    case 74..<76: try unpin(tier)
    case 76..<79: try hold(tier)
    case 79..<81: touch(tier)
    case 81..<83: try checkDescendants(tier)
    case 83..<85: try settle()
    case 85: try writeTooLarge(tier)
    case 86..<89: settleJournal(tier)
    case 89..<93: try list(tier)
    case 93: try checkUsage()
    default: pass()
    }
  }

  private func pass() {
    if scenario.hasClockJumps, random.isOne(in: 8) {
      let jump = UInt64(1 + random.number(below: 30_000))
      wallClock.set(milliseconds: random.isOne(in: 2) ? now + jump : now - min(now, jump))
      note("the wall clock jumps to \(now)")
    }
    advance(milliseconds: UInt64(1 + random.number(below: random.isOne(in: 8) ? 2000 : 120)))
  }

  func anyName() -> Name { universe.names[random.number(below: universe.names.count)] }

  // MARK: Writing

  func write(_ tier: any Tier, mustWork: Bool = false) throws {
    let name = anyName()
    let isDurable = mustWork || random.isOne(in: 2)
    let key = universe.keys[name.number]
    let namespace = universe.namespaces[name.tenant]
    let finding = tier.find(key, in: namespace)
    var isNew = false
    let copy: Copy
    if finding == .notReady {
      // Nobody gives other bytes to a name of which it is not known whether it is taken.
      let known = model.copies[name] ?? []
      guard let last = known.last(where: { $0.purge != .acknowledged }) else { return }
      guard last.purge == .none else { return }
      copy = last
    } else if let known = try model.found(finding, name, now: now) {
      copy = known
    } else {
      copy = makeCopy(name)
      isNew = true
    }
    guard let bytes = bytes(of: copy) else { return }
    try register(name, tier)
    if isNew {
      model.add(copy, name)
      model.doubtPin(name)
      quotas.holds[name] = nil
    }
    let bound = boundBytes(name.tenant, tier)
    if isDurable { quotas.awaitedBytes[name.tenant, default: 0] += copy.facts.byteCount }
    note("write \(describe(name)) \(copy.facts.checksum.value) durable \(isDurable) new \(isNew)")
    let answer = Answer<Result<Void, TierRefusal>>(disk)
    ask("write of \(describe(name))", answer) { [unowned self] result in
      if isDurable { quotas.awaitedBytes[name.tenant, default: 0] -= copy.facts.byteCount }
      try concludeWrite(
        result, copy, name, isDurable: isDurable, isNew: isNew, boundBytes: bound)
      guard mustWork, case .failure(.failed) = result else { return }
      throw DiskDifference(description: "a write failed although a device works")
    }
    tier.write(copy.facts, bytes, isDurable: isDurable) { answer.give($0) }
  }

  /// Bytes in memory, for the tier to write.
  func bytes(_ content: DiskContent, _ count: Int) -> TierBytes? {
    guard let reservation = reserve(count) else { return nil }
    content.withBytes(count) { source in
      guard let base = source.baseAddress else { return }
      reservation.base.copyMemory(from: base, byteCount: source.count)
    }
    return TierBytes(reservation.seal().lease())
  }

  private func makeCopy(_ name: Name) -> Copy {
    var byteCount = scenario.byteCount(&random)
    var content = DiskContent.noise(random.number(below: DiskContent.noise.count - byteCount))
    if scenario.forgesOneIn > 0, random.isOne(in: scenario.forgesOneIn), let forged = forge() {
      totals.forged += 1
      content = .forged(forged)
      byteCount = forged.count
    }
    let key = universe.keys[name.number]
    let ttl = random.isOne(in: 8) ? UInt64(1 + random.number(below: 6000)) : 0
    let checksum = content.withBytes(byteCount) { Checksum(of: $0) }
    let copy = Copy(
      ObjectFacts(
        namespace: universe.namespaces[name.tenant],
        generation: model.generations[name.tenant].asked, key: key,
        parent: universe.parents[name.number], byteCount: byteCount, checksum: checksum,
        firstToken: key.kind == .layout ? name.number * 64 : 0,
        tokenCount: key.kind == .layout ? 64 : 0,
        recomputeMicroseconds: UInt64(random.number(below: 1000)), storedAtMilliseconds: now,
        ttlMilliseconds: ttl), content)
    if scenario.watchesPlaces { places.add(copy, copy.content) }
    return copy
  }

  private func forge() -> [UInt8]? {
    let forgery = DiskForgery(disk: disk, universe: universe)
    return random.isOne(in: 2) ? forgery.copyOfBlocks() : forgery.records()
  }

  private func bytes(of copy: Copy) -> TierBytes? {
    bytes(copy.content, copy.facts.byteCount)
  }

  private func reserve(_ byteCount: Int) -> Reservation? {
    arena.reserve(byteCount: byteCount, owner: ArenaOwner(number: 0))
  }

  private func concludeWrite(
    _ result: Result<Void, TierRefusal>, _ copy: Copy, _ name: Name, isDurable: Bool,
    isNew: Bool, boundBytes: Int
  ) throws {
    switch result {
    case .success:
      guard copy.purge != .acknowledged else { return }
      copy.isReadable = true
      guard isDurable else { return }
      promise(copy)
      copy.isAcknowledged = true
    case .failure(let refusal):
      let kind = String("\(refusal)".prefix { $0 != "(" })
      totals.refusals["write \(kind)", default: 0] += 1
      switch refusal {
      case .busy:
        if isNew, !copy.isReadable, !copy.isPromised { model.forget(copy, name) }
      case .failed: try expect(hasFailed, "a write failed on devices without fault")
      case .gone:
        // What somebody waits for to be durable is not dropped for a quota.
        try expect(
          copy.purge != .none || copy.hasExpired
            || isExcused(name, copy, byQuota: !isDurable),
          "gone, and nobody purged it: \(describe(name))")
      case .closing: try expect(isClosing, "closing, and nobody closed it")
      case .overQuota(let limit):
        // Nothing that may go was left.
        try expect(
          limit == quotas.disk[name.tenant] ?? -1
            && copy.facts.byteCount + boundBytes > limit,
          "\(copy.facts.byteCount) beside \(boundBytes) bound are over the quota of \(limit)")
        if isNew, !copy.isReadable, !copy.isPromised { model.forget(copy, name) }
      case .notAdmitted, .tooLarge:
        throw DiskDifference(description: "a write of \(copy.facts.byteCount) bytes: \(refusal)")
      }
    }
  }

  private func promise(_ copy: Copy) {
    copy.isPromised = true
    totals.promised += 1
  }

  /// What can never fit is told so, and leaves nothing.
  private func writeTooLarge(_ tier: any Tier) throws {
    guard let reservation = reserve(scenario.segmentBytes) else { return }
    let facts = ObjectFacts(
      namespace: universe.namespaces[0], generation: model.generations[0].asked,
      key: ObjectKey(opaque: HashChain.opaque([3])), byteCount: scenario.segmentBytes,
      checksum: Checksum(1), storedAtMilliseconds: now)
    let answer = Answer<Result<Void, TierRefusal>>(disk)
    ask("write of too much", answer) { [unowned self] result in
      guard case .failure(let refusal) = result else {
        throw DiskDifference(description: "took more than a segment holds")
      }
      if case .tooLarge(let limit) = refusal {
        try expect(limit < scenario.segmentBytes, "too large for a limit of \(limit)")
      } else {
        try expect(refusal == .closing || refusal == .busy || hasFailed, "\(refusal)")
      }
    }
    tier.write(facts, TierBytes(reservation.seal().lease()), isDurable: true) { answer.give($0) }
  }

  private func makeDurable(_ tier: any Tier) throws {
    let name = anyName()
    let finding = tier.find(universe.keys[name.number], in: universe.namespaces[name.tenant])
    guard finding != .notReady else { return }
    let copy = try model.found(finding, name, now: now)
    let answer = Answer<Result<Void, TierRefusal>>(disk)
    note("makeDurable \(describe(name))")
    let bytes = copy?.facts.byteCount ?? 0
    quotas.awaitedBytes[name.tenant, default: 0] += bytes
    ask("makeDurable of \(describe(name))", answer) { [unowned self] result in
      quotas.awaitedBytes[name.tenant, default: 0] -= bytes
      switch result {
      case .success:
        guard let copy else { throw DiskDifference(description: "made durable what is not there") }
        guard copy.purge != .acknowledged else { return }
        promise(copy)
      case .failure(let refusal):
        totals.refusals["makeDurable \(refusal)", default: 0] += 1
        guard let copy, copy.isRequired, !model.excuse(name, copy) else { return }
        try expect(
          refusal == .failed && hasFailed || refusal == .closing && isClosing,
          "makeDurable of \(describe(name)): \(refusal)")
      }
    }
    tier.makeDurable(universe.keys[name.number], in: universe.namespaces[name.tenant]) {
      answer.give($0)
    }
  }

  // MARK: Reading

  func read(_ name: Name, _ tier: any Tier) throws {
    let known = model.candidates(name)
    let byteCount: Int
    switch tier.find(universe.keys[name.number], in: universe.namespaces[name.tenant]) {
    case .held(let facts): byteCount = facts.storedBytes
    case .absent, .notReady: byteCount = known.last?.facts.byteCount ?? 1
    }
    guard let reservation = reserve(byteCount) else { return }
    let room = TierRoom(reservation)
    let mustBeThere = known.last { $0.isRequired }
    note("read \(describe(name))")
    let answer = Answer<TierReading>(disk)
    let wasReady = tier.isReady
    ask("read of \(describe(name))", answer) { [unowned self] reading in
      switch reading {
      case .whole(let facts):
        try compare(facts, room, with: known, name)
      case .missed(let cause):
        guard wasReady, let mustBeThere, mustBeThere.isRequired else { return }
        guard cause != .notReady else { throw DiskDifference(description: "not ready any more") }
        try model.missed(name, cause)
      case .busy:
        totals.refusals["read busy", default: 0] += 1
      }
    }
    tier.read(universe.keys[name.number], in: universe.namespaces[name.tenant], into: room) {
      answer.give($0)
    }
  }

  private func compare(
    _ facts: ObjectFacts, _ room: TierRoom, with known: [Copy], _ name: Name
  ) throws {
    // The index may have changed between the question and the answer.
    let all = known + model.candidates(name)
    guard let copy = all.last(where: { $0.facts == facts.inForm(nil) }),
      let content = copy.content(of: facts.form)
    else {
      throw DiskDifference(description: "read what must not be there: \(describe(name)) \(facts)")
    }
    guard let reservation = room.take() else {
      throw DiskDifference(description: "the tier took the room of \(describe(name))")
    }
    try expect(facts.storedBytes == room.byteCount, "other bytes than room was given for")
    let isSame = content.withBytes(facts.storedBytes) { expected in
      Checksum(of: UnsafeRawBufferPointer(start: reservation.base, count: expected.count))
        == Checksum(of: expected)
    }
    try expect(isSame, "read wrong bytes of \(describe(name))")
    totals.readsWhole += 1
  }

  func describe(_ name: Name) -> String {
    let key = universe.keys[name.number]
    return "\(universe.namespaces[name.tenant])/\(name.number)\(key.kind == .opaque ? "o" : "")"
  }
}
