import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

/// Random reservations, publications, purges, pins, leases and readers of several tenants, each
/// with its quota: what is charged is always what there is, and nobody takes from another.
struct QuotaPropertyTests {
  /// One tenant and what it has under way.
  private final class Tenant {
    /// What a lease keeps.
    struct Lease {
      let owner: UInt64
      let deadline: Instant
      let objects: [StoredObject]
    }

    let namespace: Namespace
    var limits: NamespaceLimits
    var open: [(holder: Holder, facts: StoreFacts)] = []
    var readers: [Reader] = []
    var leases: [Lease] = []

    init(_ namespace: Namespace, _ limits: NamespaceLimits) {
      self.namespace = namespace
      self.limits = limits
    }
  }

  /// A reader under way.
  private final class Reader {
    let lease: ReadLease
    init(_ lease: consuming ReadLease) { self.lease = lease }
  }

  private final class Run {
    static let keyCount = 48
    let fixture: Fixture
    let tenants: [Tenant]
    let isRoomy: Bool
    /// Made once: hashing them at each look would be most of the work.
    let keys: [ObjectKey]
    private var state: UInt64
    var overQuotas = 0

    init(seed: UInt64, isRoomy: Bool) throws {
      state = seed
      self.isRoomy = isRoomy
      let made = try Fixture(kibibytes: isRoomy ? 1024 : 512)
      fixture = made
      keys = (0..<Self.keyCount).map { made.key($0) }
      tenants = try [40, 64, 100, nil].enumerated().map { number, kibibytes in
        let limits = NamespaceLimits(
          ramBytesMax: kibibytes.map { $0 << 10 }, pinnedBytesMax: number == 1 ? 30 << 10 : nil)
        return Tenant(try made.addTenant("tenant-\(number)", limits), limits)
      }
    }

    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }

    func facts(_ number: Int) -> StoreFacts {
      fixture.facts(
        number, after: number % 6 == 0 ? nil : number - 1, tokens: 1 + number * 7 % 20,
        ttl: number % 11 == 0 ? UInt64(1 + random(30)) : 0)
    }

    func objects(of tenant: Tenant) -> [StoredObject] {
      let now = fixture.clock.now()
      return keys.compactMap { fixture.pool.live($0, in: tenant.namespace, now: now) }
    }

    /// What should be charged: what is open, what can be found, and what is still read or leased.
    func expectedCharge(of tenant: Tenant) -> Int {
      var alive: [ObjectIdentifier: Int] = [:]
      for object in objects(of: tenant) { alive[ObjectIdentifier(object)] = object.byteCount }
      for reader in tenant.readers {
        alive[ObjectIdentifier(reader.lease.object)] = reader.lease.object.byteCount
      }
      for object in tenant.leases.flatMap(\.objects) {
        alive[ObjectIdentifier(object)] = object.byteCount
      }
      return alive.values.reduce(0, +) + tenant.open.reduce(0) { $0 + $1.holder.byteCount }
    }

    func sweep() { while fixture.pool.sweep(now: fixture.clock.now()) {} }

    func step() throws {
      let tenant = tenants[random(tenants.count)]
      let (namespace, pool) = (tenant.namespace, fixture.pool)
      let key = keys[random(Self.keyCount)]
      switch random(20) {
      case 0..<7: try reserve(tenant)
      case 7..<11:
        guard !tenant.open.isEmpty else { return }
        let (holder, facts) = tenant.open.remove(at: random(tenant.open.count))
        guard random(5) > 0 else { return }
        let checksum = Checksum(random(10) == 0 ? 1 : 7)
        _ = try? holder.publish(facts, checksum: checksum, to: pool, in: namespace)
      case 11..<13:
        if tenant.readers.count == 4 { tenant.readers = [] }
        if case .hit(let lease) = pool.lookup(key, in: namespace) {
          tenant.readers.append(Reader(lease))
        }
      case 13: tenant.readers = []
      case 14:
        match(tenant, owner: UInt64(random(3)), first: 6 * random(8))
      case 15: try pin(tenant)
      case 16: _ = pool.unpin(keys, in: namespace)
      case 17:
        fixture.purge(random(8) == 0 ? .namespace : .keys([key]), in: namespace)
        sweep()
      case 18:
        let owner = UInt64(random(3))
        for tenant in tenants { tenant.leases.removeAll { $0.owner == owner } }
        pool.ownerEnded(OwnerID(number: owner))
      default:
        fixture.clock.advance(milliseconds: 3)
        let now = fixture.clock.now()
        for tenant in tenants { tenant.leases.removeAll { $0.deadline <= now } }
        sweep()
      }
    }

    private func match(_ tenant: Tenant, owner: UInt64, first: Int) {
      let hashes = (first..<first + 4).map(fixture.hash)
      let query = MatchQuery(
        layout: fixture.layout.id, parts: [fixture.part], hashes: hashes, leaseMilliseconds: 9)
      let answer = try? fixture.pool.match(
        query, in: tenant.namespace, owner: OwnerID(number: owner))
      guard let answer, answer.leaseNumber > 0 else { return }
      let matched = Set(hashes.prefix(answer.matchedChunks))
      tenant.leases.append(
        Tenant.Lease(
          owner: owner, deadline: fixture.clock.now().advanced(milliseconds: 9),
          objects: objects(of: tenant).filter { matched.contains($0.key.hash) }))
    }

    private func reserve(_ tenant: Tenant) throws {
      guard tenant.open.count < 3 else { return }
      let before = tenants.map { objects(of: $0).count }
      let facts = facts(random(Self.keyCount))
      do {
        guard let holder = try open(facts, tenant) else { return }
        tenant.open.append((holder, facts))
      } catch PoolRefusal.overQuota {
        overQuotas += 1
        #expect(fixture.pool.share(of: tenant.namespace).pinnedObjects > 0)
      } catch PoolRefusal.busy {
      }
      guard isRoomy else { return }
      for (other, count) in zip(tenants, before) where other !== tenant {
        #expect(objects(of: other).count == count)
      }
    }

    private func open(_ facts: StoreFacts, _ tenant: Tenant) throws -> Holder? {
      switch try fixture.pool.reserve(facts, in: tenant.namespace) {
      case .present: nil
      case .reserved(let reservation): Holder(reservation)
      }
    }

    private func pin(_ tenant: Tenant) throws {
      let keys = (0..<1 + random(4)).map { _ in self.keys[random(Self.keyCount)] }
      _ = try? fixture.pool.pin(keys, ttlMilliseconds: 40, in: tenant.namespace)
    }

    func check() throws {
      for tenant in tenants {
        let share = fixture.pool.share(of: tenant.namespace)
        try #require(share.ramBytes == expectedCharge(of: tenant))
        #expect(share.ramBytes <= tenant.limits.ramBytesMax ?? .max)
        #expect(share.pinnedBytes <= tenant.limits.pinnedBytesMax ?? .max)
        #expect(share.bytes == objects(of: tenant).reduce(0) { $0 + $1.byteCount })
      }
    }
  }

  @Test(arguments: Array(1...3 as ClosedRange<UInt64>), [true, false])
  func whatIsChargedIsWhatThereIsAndNeverBeyondTheQuota(seed: UInt64, isRoomy: Bool) throws {
    let run = try Run(seed: seed, isRoomy: isRoomy)
    for _ in 0..<500 {
      try run.step()
      try run.check()
    }
    let limited = run.tenants[0..<3].map { $0.namespace.counters.snapshot }
    #expect(limited.allSatisfy { $0.evictions > 0 && $0.stores > 0 })
    if isRoomy {
      #expect(run.tenants[3].namespace.counters.snapshot.evictions == 0)
      #expect(limited.contains { $0.quotaRefusals > 0 })
    }
    for tenant in run.tenants {
      tenant.open = []
      tenant.readers = []
      tenant.leases = []
      run.fixture.purge(.namespace, in: tenant.namespace)
    }
    for owner: UInt64 in 0..<3 { run.fixture.pool.ownerEnded(OwnerID(number: owner)) }
    run.sweep()
    for tenant in run.tenants {
      #expect(run.fixture.pool.share(of: tenant.namespace).ramBytes == 0)
    }
  }

  /// Reads from below are charged like stores, and evict only the reader's own.
  @Test(arguments: [0, 256]) func promotionsKeepToTheQuota(stagingKibibytes: Int) throws {
    let tiers = try TwoTiers(kibibytes: 1024, stagingKibibytes: stagingKibibytes)
    let (pool, fixture) = (tiers.pool, tiers.fixture)
    tiers.tier.set { $0.reads = .atOnce }
    let other = try fixture.addTenant("other")
    for number in 1...3 { try fixture.store(fixture.facts(number), in: other) }
    pool.setLimits(NamespaceLimits(ramBytesMax: 100 << 10), of: fixture.tenant)
    for number in 10..<20 { tiers.putBelow(number) }
    for number in 10..<20 {
      let (fetch, told) = tiers.fetch([number])
      #expect(told.number == 1)
      #expect(tiers.take(number, from: fetch) == .filled(UInt8(number)))
      #expect(pool.share(of: fixture.tenant).ramBytes <= 100 << 10)
    }
    #expect(fixture.present(1...3, in: other).count == 3)
    #expect((10..<20).filter(tiers.isInRAM).count == 3)
    #expect(pool.statistics.fetches.promoted == 10)
    #expect(pool.prefetch([tiers.key(10)], in: fixture.tenant).started == 1)
    #expect(pool.share(of: fixture.tenant).ramBytes == 96 << 10)
    #expect(pool.share(of: other).counts.evictions == 0)
  }

  @Test func aReadThatTheQuotaHasNoRoomForGoesByTheStagingMemory() throws {
    let tiers = try TwoTiers(kibibytes: 1024, stagingKibibytes: 256)
    let tenant = tiers.fixture.tenant
    tiers.tier.set { $0.reads = .atOnce }
    tiers.pool.setLimits(NamespaceLimits(ramBytesMax: 64 << 10), of: tenant)
    for number in 1...2 { try tiers.store(number) }
    tiers.pinAll(1...2)
    tiers.putBelow(9)
    tiers.putBelow(10, tokens: 65)
    for number in 9...10 {
      let (fetch, _) = tiers.fetch([number])
      #expect(tiers.take(number, from: fetch) == .filled(UInt8(number)))
      #expect(!tiers.isInRAM(number))
    }
    #expect(tiers.fetches.staged == 2)
    #expect(tiers.pool.prefetch([tiers.key(9)], in: tenant).started == 0)
    #expect(tiers.pool.share(of: tenant).ramBytes == 64 << 10)
    #expect(tenant.counters.snapshot.quotaRefusals == 0)
  }

  @Test func aReadThatFailsIsRefunded() throws {
    let tiers = try TwoTiers(kibibytes: 1024)
    let tenant = tiers.fixture.tenant
    tiers.pool.setLimits(NamespaceLimits(ramBytesMax: 64 << 10), of: tenant)
    for number in 1...2 { tiers.putBelow(number) }
    let (fetch, _) = tiers.fetch([1, 2])
    #expect(tiers.pool.share(of: tenant).ramBytes == 64 << 10)
    tiers.tier.endRead(.missed(.corrupt))
    #expect(tiers.pool.share(of: tenant).ramBytes == 32 << 10)
    tiers.tier.endRead()
    #expect(tiers.take(1, from: fetch) == .missed(.corrupt))
    #expect(tiers.take(2, from: fetch) == .filled(2))
    #expect(tiers.pool.share(of: tenant).ramBytes == 32 << 10)
    _ = tiers.purge(.keys([tiers.key(2)]))
    #expect(tiers.pool.share(of: tenant).ramBytes == 0)
  }
}
