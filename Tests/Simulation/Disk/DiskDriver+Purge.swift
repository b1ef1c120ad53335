import KDNCore
import KDNTier

extension DiskDriver {
  /// Drops objects of one tenant by keys, chunks, layouts or generation.
  func purge(_ tier: any Tier) throws {
    let tenant = random.number(below: universe.namespaces.count)
    switch random.number(below: 12) {
    case 0..<6: try purgeKeys(tenant, tier)
    case 6..<9: try purgeChunks(tenant, tier)
    case 9: try purgeLayouts(tenant, tier)
    case 10: try purgeGenerations(tenant, tier)
    default: break
    }
  }

  private func purgeKeys(_ tenant: Int, _ tier: any Tier) throws {
    let numbers = (0...random.number(below: 4)).map { _ in
      random.number(below: universe.keys.count)
    }
    let chosen = Set(numbers)
    try purge(.keys(numbers.map { universe.keys[$0] }), tenant, tier) { name, _ in
      chosen.contains(name.number)
    }
  }

  private func purgeChunks(_ tenant: Int, _ tier: any Tier) throws {
    let all = universe.hashes
    var hashes: Set<ChunkHash> = [all[random.number(below: all.count)]]
    if random.isOne(in: 2) {
      hashes.formUnion(tier.descendants(of: hashes, in: universe.namespaces[tenant]))
    }
    let chosen = hashes
    try purge(.chunks(hashes), tenant, tier) { _, copy in
      copy.facts.key.kind == .layout && chosen.contains(copy.facts.key.hash)
    }
  }

  private func purgeLayouts(_ tenant: Int, _ tier: any Tier) throws {
    let layout = universe.layouts[random.number(below: 2)].id
    try purge(.layouts([layout]), tenant, tier) { _, copy in copy.facts.key.layout == layout }
  }

  private func purgeGenerations(_ tenant: Int, _ tier: any Tier) throws {
    let next = model.generations[tenant].asked + 1
    model.generations[tenant].asked = next
    try purge(.before(generation: next), tenant, tier, generation: next) { _, copy in
      copy.facts.generation < next
    }
  }

  private func purge(
    _ scope: TierPurge, _ tenant: Int, _ tier: any Tier, generation: UInt64? = nil,
    isMeant: @escaping (Name, Copy) -> Bool
  ) throws {
    let copies = model.copies(in: tenant, where: isMeant)
    let counted = Set(universe.keys.filter { _ in random.isOne(in: 6) })
    let expected = try count(tenant, counted, tier, isMeant)
    for copy in copies where copy.purge == .none { copy.purge = .inDoubt }
    quotas.holds = quotas.holds.filter { name, _ in
      name.tenant != tenant || !copies.contains { $0.facts.key == universe.keys[name.number] }
    }
    for name in model.pins.keys where name.tenant == tenant {
      // Whether the pin of what is purged outlives it is nobody's concern.
      guard copies.contains(where: { $0.facts.key == universe.keys[name.number] }) else { continue }
      model.doubtPin(name)
    }
    totals.purges += 1
    note("purge \(universe.namespaces[tenant]) \(describe(scope))")
    let answer = Answer<Result<(objects: Int, bytes: Int), TierRefusal>>(disk)
    ask("purge of \(universe.namespaces[tenant])", answer) { [unowned self] result in
      switch result {
      case .success(let dropped):
        for copy in copies { copy.purge = .acknowledged }
        if let generation {
          let known = model.generations[tenant].acknowledged
          model.generations[tenant].acknowledged = max(known, generation)
        }
        guard let expected else { return }
        try expect(
          expected.objects.contains(dropped.objects) && expected.bytes.contains(dropped.bytes),
          "purged \(dropped), should be \(expected)")
      case .failure(let refusal):
        totals.refusals["purge \(refusal)", default: 0] += 1
        switch refusal {
        case .failed: try expect(hasFailed, "a purge failed on devices without fault")
        case .closing: try expect(isClosing, "closing, and nobody closed it")
        case .busy: break
        case .notAdmitted, .tooLarge, .overQuota, .gone:
          throw DiskDifference(description: "a purge: \(refusal)")
        }
      }
    }
    tier.purge(scope, in: universe.namespaces[tenant], counted: counted) { answer.give($0) }
  }

  private typealias Counts = (objects: ClosedRange<Int>, bytes: ClosedRange<Int>)

  /// How much a purge has to say that it dropped; nil if that cannot be told now.
  private func count(
    _ tenant: Int, _ counted: Set<ObjectKey>, _ tier: any Tier, _ isMeant: (Name, Copy) -> Bool
  ) throws -> Counts? {
    guard tier.isReady else { return nil }
    var objects = (0, 0)
    var bytes = (0, 0)
    for name in universe.names where name.tenant == tenant {
      let key = universe.keys[name.number]
      let finding = tier.find(key, in: universe.namespaces[tenant])
      guard let copy = try model.found(finding, name, now: now) else {
        // The tier may still count what time has ended.
        let overdue = (model.copies[name] ?? []).last {
          $0.hasExpired && $0.purge != .acknowledged && isMeant(name, $0)
        }
        guard let overdue, !counted.contains(key) else { continue }
        objects.1 += 1
        bytes.1 += overdue.facts.byteCount
        continue
      }
      guard isMeant(name, copy), !counted.contains(key) else { continue }
      objects = (objects.0 + 1, objects.1 + 1)
      guard case .held(let held) = finding else { continue }
      bytes = (bytes.0 + held.storedBytes, bytes.1 + held.storedBytes)
    }
    return (objects.0...objects.1, bytes.0...bytes.1)
  }

  private func describe(_ scope: TierPurge) -> String {
    switch scope {
    case .keys(let keys): "keys \(keys.compactMap { universe.number(of: $0) })"
    case .chunks(let hashes):
      "chunks of \(universe.keys.indices.filter { hashes.contains(universe.keys[$0].hash) })"
    case .layouts(let ids): "layouts \(ids)"
    case .before(let generation): "before \(generation)"
    }
  }
}
