import KDNCore
import KDNTier

extension DiskDriver {
  /// Pins at most so many objects, small enough to be kept when segments are reclaimed.
  private static let pinnedMax = 4

  func pin(_ tier: any Tier) throws {
    let name = anyName()
    model.pinsInDoubt = model.pinsInDoubt.filter { $0.value > now }
    model.pins = model.pins.filter { $0.value > now }
    model.pinsKept = model.pinsKept.filter { $0.value > now }
    guard model.pins.count + model.pinsInDoubt.count < Self.pinnedMax else { return }
    let finding = tier.find(universe.keys[name.number], in: universe.namespaces[name.tenant])
    guard finding != .notReady else { return }
    let copy = try model.found(finding, name, now: now)
    guard (copy?.facts.byteCount ?? 0) <= 3000 else { return }
    let milliseconds = UInt64(500 + random.number(below: 10_000))
    let pinnedBefore = tier.usage(of: universe.namespaces[name.tenant]).pinnedBytes
    let result = tier.pin(
      [universe.keys[name.number]], in: universe.namespaces[name.tenant],
      milliseconds: milliseconds)
    note("pin \(describe(name)): \(result)")
    guard case .success(let answer) = result else {
      return try refusedPin(result, finding, pinnedBefore, name)
    }
    let isPinned = answer == [true]
    try expect(
      isPinned == (copy != nil) || !isPinned && (hasFailed || !tier.isReady),
      "pin of \(describe(name)): \(isPinned)")
    if isPinned { model.pins[name] = now + milliseconds }
  }

  private func refusedPin(
    _ result: Result<[Bool], TierRefusal>, _ finding: TierFinding, _ pinnedBefore: Int,
    _ name: Name
  ) throws {
    totals.refusals["pin overQuota", default: 0] += 1
    guard case .held(let facts) = finding, case .failure(.overQuota(let limit)) = result else {
      throw DiskDifference(description: "pin of \(describe(name)): \(result)")
    }
    try expect(
      limit == quotas.pinned[name.tenant] && !facts.isPinned
        && pinnedBefore + facts.storedBytes > limit,
      "no pin of \(facts) beside \(pinnedBefore) bytes, limit \(limit)")
  }

  func unpin(_ tier: any Tier) throws {
    let pinned = model.pins.keys.sorted { ($0.tenant, $0.number) < ($1.tenant, $1.number) }
    let doubtful = model.pinsInDoubt.keys.sorted { ($0.tenant, $0.number) < ($1.tenant, $1.number) }
    let chosen = pinned + doubtful + [anyName()]
    let name = chosen[random.number(below: chosen.count)]
    let finding = tier.find(universe.keys[name.number], in: universe.namespaces[name.tenant])
    guard finding != .notReady else { return }
    let isThere = try model.found(finding, name, now: now) != nil
    let wasPinned = tier.unpin(universe.keys[name.number], in: universe.namespaces[name.tenant])
    note("unpin \(describe(name)): \(wasPinned)")
    if let end = model.pins[name] {
      if isThere, end > now, !scenario.hasClockJumps, !hasFailed {
        try expect(wasPinned, "the pin of \(describe(name)) is not known")
      }
    } else if !scenario.hasClockJumps {
      try expect(!wasPinned || model.pinsInDoubt[name] != nil, "a pin of \(describe(name))")
    }
    // A crash may bring the pin back, for its end is perhaps not durable.
    model.doubtPin(name)
  }

  /// Has pins and layouts survive crashes from now on.
  func settleJournal(_ tier: any Tier) {
    let (pins, layouts) = (model.pins, model.layoutsAsked)
    note("settle")
    let answer = Answer<Result<Void, TierRefusal>>(disk)
    ask("settle", answer) { [unowned self] result in
      guard case .success = result else {
        let isExcused = hasFailed || isClosing || tier.isReady == false
        return try expect(isExcused, "settle: \(result)")
      }
      for tenant in layouts.indices { model.layoutsKept[tenant].formUnion(layouts[tenant]) }
      for (name, end) in pins where model.pins[name] != nil { model.pinsKept[name] = end }
    }
    tier.settle { answer.give($0) }
  }

  func hold(_ tier: any Tier) throws {
    let name = anyName()
    let finding = tier.find(universe.keys[name.number], in: universe.namespaces[name.tenant])
    guard finding != .notReady else { return }
    let copy = try model.found(finding, name, now: now)
    let end = clock.now().advanced(milliseconds: UInt64(1 + random.number(below: 1000)))
    let isHeld = tier.hold(
      universe.keys[name.number], in: universe.namespaces[name.tenant], until: end)
    try expect(!isHeld || copy != nil, "held what is not there: \(describe(name))")
    if isHeld { quotas.holds[name] = max(end, quotas.holds[name] ?? end) }
    // A quarter of the capacity may be held, so that it may be refused where there is little.
    guard tier.isReady, !scenario.mayReclaim, !hasFailed else { return }
    try expect(isHeld || copy == nil, "does not hold \(describe(name))")
  }

  func touch(_ tier: any Tier) {
    let name = anyName()
    tier.touch(universe.keys[name.number], in: universe.namespaces[name.tenant])
  }

  /// Makes a layout known before objects of it are written, as the pool does.
  func register(_ name: Name, _ tier: any Tier) throws {
    let key = universe.keys[name.number]
    guard key.kind == .layout, let layout = universe.layouts.first(where: { $0.id == key.layout })
    else { return }
    let namespace = universe.namespaces[name.tenant]
    guard !tier.layouts(of: namespace).contains(layout) else { return }
    tier.register(layout, in: namespace)
    note("register \(layout.id) in \(namespace)")
    model.layoutsAsked[name.tenant].insert(layout.id)
  }
}
