import KDNCore
import KDNTier

/// What the driver knows of quotas in one life, and of a list that it goes through meanwhile.
struct DiskQuotas {
  /// Quotas by tenant; nil where none was ever set in this life.
  var disk: [Int: Int] = [:]
  var pinned: [Int: Int] = [:]
  /// What each tenant had when it was looked at last: more than the quota may only become less.
  var usages: [Int: TierUsage] = [:]
  /// Until when objects are held.
  var holds: [DiskUniverse.Name: Instant] = [:]
  /// Bytes of objects that somebody waits for to be durable, by tenant; one may count twice.
  var awaitedBytes: [Int: Int] = [:]
  var walk: Walk?

  /// A list of a tenant's objects, page by page.
  struct Walk {
    let tenant: Int
    var cursor: TierCursor?
    var seen: [ObjectKey: Int] = [:]
    /// Objects that have been there since the walk began.
    var steady: Set<ObjectKey>
  }
}

extension DiskDriver {
  /// The only tenant that ever has quotas: whatever it does, the other one's objects stay.
  static let quotaTenant = 0

  /// Whether an object may be gone because its tenant has a quota, or had one in this life.
  func isExcusedByQuota(_ name: Name) -> Bool {
    guard quotas.disk[name.tenant] != nil else { return false }
    guard let end = quotas.holds[name], end > clock.now(), !hasFailed else { return true }
    return false
  }

  func setQuota(_ tier: any Tier) throws {
    guard scenario.hasQuotas else { return }
    let tenant = Self.quotaTenant
    let disk = random.isOne(in: 12) ? Int.max : random.number(below: 60_000)
    let pinned = random.isOne(in: 3) ? Int.max : random.number(below: 900)
    note("quota of \(universe.namespaces[tenant]): disk \(disk) pinned \(pinned)")
    tier.setLimits(
      diskBytesMax: disk == .max ? nil : disk, pinnedBytesMax: pinned == .max ? nil : pinned,
      of: universe.namespaces[tenant])
    // Without a quota now, what went for the last one may still be gone.
    if disk != .max || quotas.disk[tenant] != nil { quotas.disk[tenant] = disk }
    quotas.pinned[tenant] = pinned
  }

  /// Bytes that cannot be dropped for a quota, at most.
  func boundBytes(_ tenant: Int, _ tier: any Tier) -> Int {
    let held = quotas.holds.filter { $0.key.tenant == tenant && $0.value > clock.now() }
    let heldBytes = held.keys.reduce(0) { sum, name in
      guard
        case .held(let facts) = tier.find(
          universe.keys[name.number], in: universe.namespaces[tenant])
      else { return sum }
      return sum + facts.storedBytes
    }
    return heldBytes + tier.usage(of: universe.namespaces[tenant]).pinnedBytes
      + quotas.awaitedBytes[tenant, default: 0]
  }

  /// Compares what the tier says that tenants have with what is found, and with their quotas.
  func checkUsage() throws {
    guard disk.isPowered, let tier, tier.isReady else { return }
    // What pins, holds and waiting kept goes with the next tick.
    tier.tick(now: clock.now())
    guard disk.isPowered else { return }
    for (tenant, namespace) in universe.namespaces.enumerated() {
      var counted = TierUsage()
      for key in universe.keys {
        guard case .held(let facts) = tier.find(key, in: namespace) else { continue }
        counted.objects += 1
        counted.bytes += facts.storedBytes
        guard facts.isPinned else { continue }
        counted.pinnedObjects += 1
        counted.pinnedBytes += facts.storedBytes
      }
      let usage = tier.usage(of: namespace)
      try expect(usage == counted, "\(namespace) has \(counted), and is said to have \(usage)")
      let before = quotas.usages[tenant] ?? TierUsage(bytes: .max, pinnedBytes: .max)
      quotas.usages[tenant] = usage
      try expect(
        usage.bytes <= max(quotas.disk[tenant] ?? .max, before.bytes),
        "\(namespace) has \(usage), before \(before), over its quota of \(quotas.disk)")
      try expect(
        usage.pinnedBytes <= max(quotas.pinned[tenant] ?? .max, before.pinnedBytes),
        "\(namespace) has \(usage), before \(before), over its quota of \(quotas.pinned)")
      guard let limit = quotas.disk[tenant] else { continue }
      let bound = boundBytes(tenant, tier)
      try expect(
        usage.bytes <= max(limit, bound),
        "\(namespace) has \(usage.bytes), \(bound) of them bound, over its quota of \(limit)")
      totals.quotaChecks += 1
    }
  }

  // MARK: Lists

  /// Begins to list a tenant's objects, or takes the next page.
  func list(_ tier: any Tier) throws {
    guard tier.isReady else { return }
    if quotas.walk == nil {
      let tenant = random.number(below: universe.namespaces.count)
      quotas.walk = .init(tenant: tenant, steady: Set(held(tenant, tier)))
    }
    guard var walk = quotas.walk else { return }
    let namespace = universe.namespaces[walk.tenant]
    let limit = 1 + random.number(below: 12)
    let page = tier.list(in: namespace, after: walk.cursor, limit: limit)
    note("list of \(namespace) after \(String(describing: walk.cursor)): \(page.objects.count)")
    try expect(page.objects.count <= limit, "\(page.objects.count) objects of \(limit)")
    for object in page.objects {
      walk.seen[object.key, default: 0] += 1
      guard case .held(let facts) = tier.find(object.key, in: namespace) else {
        throw DiskDifference(description: "lists what is not there: \(object)")
      }
      try expect(
        facts.byteCount == object.byteCount && facts.form == object.form
          && facts.isPinned == object.isPinned,
        "lists \(object), finds \(facts)")
    }
    walk.cursor = page.next
    quotas.walk = page.next == nil ? nil : walk
    guard page.next == nil else { return }
    totals.lists += 1
    for key in walk.steady {
      try expect(
        walk.seen[key] == 1,
        "\(universe.number(of: key) ?? -1) of \(namespace) is listed \(walk.seen[key] ?? 0) times")
    }
    try checkKeys(walk.tenant, tier)
  }

  /// Notes which objects have gone since the walk began.
  func watchWalk() {
    guard let walk = quotas.walk, let tier else { return }
    quotas.walk?.steady.formIntersection(held(walk.tenant, tier))
  }

  private func held(_ tenant: Int, _ tier: any Tier) -> [ObjectKey] {
    universe.keys.filter {
      if case .held = tier.find($0, in: universe.namespaces[tenant]) { return true }
      return false
    }
  }

  /// Compares the keys of some hashes with what is found.
  private func checkKeys(_ tenant: Int, _ tier: any Tier) throws {
    let hashes = Set(universe.keys.map(\.hash).filter { _ in random.isOne(in: 3) })
    let keys = tier.keys(of: hashes, in: universe.namespaces[tenant])
    let expected = held(tenant, tier).filter { hashes.contains($0.hash) }
    try expect(
      keys.count == expected.count && Set(keys) == Set(expected),
      "\(keys.count) keys of \(hashes.count) hashes, should be \(expected.count)")
  }
}
