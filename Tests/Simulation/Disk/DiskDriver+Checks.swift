import KDNCore
import KDNTier

extension DiskDriver {
  /// Compares everything that the tier knows and holds with the model, after a recovery.
  func checkAll() throws {
    guard disk.isPowered, let tier else { return }
    try checkUsage()
    for name in universe.names {
      let key = universe.keys[name.number]
      let finding = tier.find(key, in: universe.namespaces[name.tenant])
      guard let copy = try model.found(finding, name, now: now) else {
        model.doubtPin(name)
        continue
      }
      totals.foundAfterRecovery += 1
      // It was not dropped then, and from now on it is there.
      copy.purge = .none
      copy.isReadable = true
      if case .held(let facts) = finding, facts.isDurable { copy.isPromised = true }
      try checkMeaning(of: copy, name, tier)
      try read(name, tier)
    }
    try checkDescendants(tier)
    try settle()
  }

  /// Whether what was found is of use: its generation and its layout are known.
  private func checkMeaning(of copy: Copy, _ name: Name, _ tier: any Tier) throws {
    let namespace = universe.namespaces[name.tenant]
    let generation = tier.generation(of: namespace)
    try expect(
      copy.facts.generation <= generation,
      "\(describe(name)) of generation \(copy.facts.generation) lives, the last is \(generation)")
    guard copy.isAcknowledged, copy.facts.key.kind == .layout else { return }
    try expect(
      tier.layouts(of: namespace).contains { $0.id == copy.facts.key.layout },
      "\(describe(name)) lives, and its layout is not known")
  }

  /// Generations and layouts are known as soon as the tier has been started.
  func checkGenerations() throws {
    guard let tier else { return }
    for (tenant, namespace) in universe.namespaces.enumerated() {
      let known = model.generations[tenant]
      let found = tier.generation(of: namespace)
      note("generation of \(namespace) is \(found)")
      try expect(
        (known.acknowledged...known.asked).contains(found),
        "generation \(found) of \(namespace), acknowledged \(known.acknowledged)")
      model.generations[tenant] = .init(acknowledged: found, asked: found)
      for copy in model.copies(in: tenant, where: { $1.facts.generation < found }) {
        copy.purge = .acknowledged
      }
      let layouts = Set(tier.layouts(of: namespace).map(\.id))
      try expect(
        layouts.isSuperset(of: model.layoutsKept[tenant]), "a layout of \(namespace) is forgotten")
      try expect(
        layouts.isSubset(of: model.layoutsAsked[tenant]), "a layout of \(namespace) never was")
      model.layoutsKept[tenant] = layouts
      model.layoutsAsked[tenant] = layouts
    }
  }

  /// Compares the descendants of a few chunks with what is there.
  func checkDescendants(_ tier: any Tier) throws {
    guard tier.isReady else { return }
    let tenant = random.number(below: universe.namespaces.count)
    let namespace = universe.namespaces[tenant]
    let all = universe.hashes
    let roots = Set((0...random.number(below: 2)).map { _ in all[random.number(below: all.count)] })
    var links: [(hash: ChunkHash, parent: ChunkHash)] = []
    for number in universe.keys.indices where universe.keys[number].kind == .layout {
      let name = Name(tenant: tenant, number: number)
      guard try model.found(tier.find(universe.keys[number], in: namespace), name, now: now) != nil
      else { continue }
      links.append((universe.keys[number].hash, universe.parents[number]))
    }
    var expected = roots
    while true {
      let more = links.filter { expected.contains($0.parent) && !expected.contains($0.hash) }
      guard !more.isEmpty else { break }
      expected.formUnion(more.map(\.hash))
    }
    let found = tier.descendants(of: roots, in: namespace)
    // What time has ended may still be told, and link others.
    guard !model.copies.contains(where: { $0.key.tenant == tenant && $0.value.hasOverdue }) else {
      try expect(expected.subtracting(roots).isSubset(of: found), "descendants are missing")
      return
    }
    try expect(
      found.subtracting(roots) == expected.subtracting(roots),
      "\(found.count) descendants of \(roots.count), should be \(expected.count)")
  }
}

extension [DiskModel.Copy] {
  /// Whether any is there perhaps although its time is over.
  var hasOverdue: Bool { contains { $0.hasExpired && $0.purge != .acknowledged } }
}
