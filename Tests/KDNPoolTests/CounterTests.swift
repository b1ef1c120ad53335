import KDNCore
import KDNTier
import Testing

@testable import KDNPool

struct CounterTests {
  @Test func connectionsCountWhatTheySawAndEachCountIsItsOwn() throws {
    let fixture = try Fixture()
    let other = try fixture.addTenant("other")
    let counters = fixture.tenant.counters
    for _ in 0..<3 { counters.countRequest() }
    counters.countError(status: 4)
    counters.countError(status: 31)
    counters.countError(status: 32)
    counters.countError(status: .max)
    counters.countReceived(100)
    counters.countSent(7)
    counters.countConnections(+2)
    counters.countConnections(-1)
    counters.countRateRefusal()
    let counts = counters.snapshot
    #expect(counts.requests == 3 && counts.receivedBytes == 100 && counts.sentBytes == 7)
    #expect(counts.errors.reduce(0, +) == 2 && counts.errors[4] == 1 && counts.errors[31] == 1)
    #expect(counts.connections == 1 && counts.rateRefusals == 1)
    #expect(counters.openConnections == 1)
    var nothing = NamespaceCounts()
    for cause in MissCause.allCases { nothing.misses[cause] = 0 }
    #expect(other.counters.snapshot == nothing)
    #expect(fixture.pool.namespaceIfKnown(other.name) === other)
    #expect(fixture.pool.namespaceIfKnown(try NamespaceName("nobody")) == nil)
    #expect(fixture.pool.namespaces.count == 2)
  }

  /// The sums over all tenants are the totals of the pool.
  private func expectSums(_ pool: Pool) {
    let picture = pool.statistics
    let counts = picture.namespaces.map(\.counts)
    #expect(counts.reduce(0) { $0 + $1.ramHits } == picture.hits)
    #expect(counts.reduce(0) { $0 + $1.diskHits } == picture.diskHits)
    for cause in MissCause.allCases {
      #expect(counts.reduce(0) { $0 + ($1.misses[cause] ?? 0) } == picture.misses[cause])
    }
    #expect(counts.reduce(0) { $0 + $1.stores } == picture.stores)
    #expect(counts.reduce(0) { $0 + $1.evictions } == picture.evictions)
    #expect(counts.reduce(0) { $0 + $1.evictedBytes } == picture.evictedBytes)
    #expect(picture.namespaces.reduce(0) { $0 + $1.objects } == picture.objects)
    #expect(picture.namespaces.reduce(0) { $0 + $1.bytes } == picture.bytes)
    #expect(picture.codecs.reduce(0) { $0 + $1.objects } == picture.objects)
    #expect(picture.codecs.reduce(0) { $0 + $1.bytes } == picture.bytes)
  }

  @Test(arguments: [1, 2, 3]) func theSumsOverTenantsAreTheTotals(seed: UInt64) throws {
    let tiers = try TwoTiers(kibibytes: 384, stagingKibibytes: 64)
    tiers.tier.set {
      $0.writes = .atOnce
      $0.reads = .atOnce
    }
    let fixture = tiers.fixture
    let others = try (0..<3).map {
      try fixture.addTenant("other-\($0)", NamespaceLimits(ramBytesMax: (20 + $0 * 10) << 10))
    }
    var state = seed
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    for _ in 0..<2000 {
      let namespace = ([fixture.tenant] + others)[random(4)]
      let number = random(60)
      let facts = fixture.facts(
        number, tokens: 1 + number % 8, variant: UInt32(number % 3 * 40),
        ttl: number % 9 == 0 ? 20 : 0)
      switch random(12) {
      case 0..<5: _ = try? fixture.store(facts, in: namespace)
      case 5 where random(9) == 0: _ = fixture.pool.sweep(now: fixture.clock.now())
      case 5..<8: _ = fixture.pool.lookup(facts.key, in: namespace)
      case 8..<10:
        let fetch = fixture.pool.fetch([facts.key], in: namespace) {}
        if fetch?.isDone == true { _ = fetch?.take(facts.key) }
      case 10: fixture.clock.advance(milliseconds: 2)
      default:
        fixture.purge(random(20) == 0 ? .namespace : .keys([facts.key]), in: namespace)
      }
    }
    expectSums(fixture.pool)
    let picture = fixture.pool.statistics
    #expect(picture.hits > 0 && picture.diskHits > 0 && picture.evictions > 0)
    #expect(picture.namespaces.allSatisfy { $0.counts.stores > 0 && $0.counts.ramHits > 0 })
    #expect(picture.namespaces.allSatisfy { $0.counts.storedBytes >= $0.counts.stores << 10 })
  }

  @Test func objectsAreCountedByTheirForm() throws {
    let fixture = try Fixture(kibibytes: 1024)
    let other = try fixture.addTenant("other")
    try fixture.store(fixture.facts(1, tokens: 4))
    try fixture.store(fixture.facts(1, tokens: 4), in: other)
    // A variant of 8 tokens in 3 KiB, which would be 8 KiB raw.
    let quantised = StoreFacts(
      key: fixture.key(2, variant: 5), byteCount: 3 << 10, firstToken: 64, tokenCount: 8)
    try fixture.store(quantised)
    for variant: UInt32 in [64, 65, .max] {
      try fixture.store(fixture.facts(3, tokens: 2, variant: variant))
    }
    let opaque = StoreFacts(key: ObjectKey(opaque: fixture.hash(9)), byteCount: 700)
    try fixture.store(opaque, in: other)
    typealias Share = PoolStatistics.CodecShare
    #expect(
      fixture.pool.statistics.codecs == [
        Share(name: "raw", objects: 2, bytes: 8 << 10, rawBytes: 8 << 10),
        Share(name: "opaque", objects: 1, bytes: 700, rawBytes: 700),
        Share(name: "variant-5", objects: 1, bytes: 3 << 10, rawBytes: 8 << 10),
        Share(name: "variant-other", objects: 3, bytes: 6 << 10, rawBytes: 6 << 10),
      ])
    fixture.purge(.keys([quantised.key]))
    fixture.purge(.namespace, in: other)
    #expect(fixture.pool.statistics.codecs.map(\.name) == ["raw", "variant-other"])
    fixture.purge(.namespace)
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(fixture.pool.statistics.codecs.isEmpty)
  }

  @Test func whatMayGoIsCounted() throws {
    let fixture = try Fixture()
    try fixture.storeChain([1, 2, 3])
    try fixture.store(fixture.facts(9))
    #expect(fixture.pool.statistics.evictableObjects == 2)
    _ = try fixture.pool.pin([fixture.key(3)], ttlMilliseconds: 9, in: fixture.tenant)
    #expect(fixture.pool.statistics.evictableObjects == 1)
  }
}
