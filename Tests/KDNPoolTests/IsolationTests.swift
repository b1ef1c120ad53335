import KDNCore
import KDNTier
import Testing

@testable import KDNPool

/// What a tenant may not learn of others.
struct IsolationTests {
  @Test func leaseNumbersTellNothingOfOtherOwners() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    var numbers: [UInt64] = []
    for round in 0..<3 {
      for _ in 0..<round * 5 { _ = try fixture.match([1], lease: 9, owner: 2) }
      numbers.append(try fixture.match([1], lease: 9, owner: 1).leaseNumber)
    }
    #expect(numbers == [1, 2, 3])
  }

  @Test func aNumberIsNotUsedAgainWhenItsLeaseEnded() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    let first = try fixture.match([1], lease: 9).leaseNumber
    #expect(fixture.pool.release(lease: first, owner: OwnerID(number: 1)))
    #expect(try fixture.match([1], lease: 9).leaseNumber == first + 1)
    #expect(!fixture.pool.release(lease: first, owner: OwnerID(number: 1)))
  }

  /// The hint of a tenant whose store finds the pool full of what others do.
  private func hint(_ prepare: (Fixture, Namespace) throws -> Void) throws -> PoolRefusal? {
    let fixture = try Fixture()
    let other = try fixture.addTenant("other")
    for number in 1...8 { try fixture.store(fixture.facts(number), in: other) }
    let keys = (1...8).map { fixture.key($0) }
    _ = try fixture.pool.pin(keys, ttlMilliseconds: 50_000, in: other)
    try prepare(fixture, other)
    return fixture.refusal { try fixture.store(fixture.facts(20)) }
  }

  @Test func theTimeToWaitTellsNothingOfOthersLeasesPinsAndWriters() throws {
    let idle = try hint { _, _ in }
    #expect(idle == .busy(retryAfterMilliseconds: 30_000))
    let pins = try hint { fixture, other in
      try fixture.store(fixture.facts(1), in: other)
      _ = fixture.pool.unpin([fixture.key(1)], in: other)
      _ = try fixture.pool.pin([fixture.key(1)], ttlMilliseconds: 77, in: other)
    }
    #expect(pins == idle)
    let leases = try hint { fixture, other in
      let query = MatchQuery(
        layout: fixture.layout.id, parts: [fixture.part], hashes: [fixture.hash(1)],
        leaseMilliseconds: 55)
      _ = try fixture.pool.match(query, in: other, owner: OwnerID(number: 9))
    }
    #expect(leases == idle)
    var holder: Holder?
    let writers = try hint { fixture, other in
      _ = fixture.pool.unpin([fixture.key(1)], in: other)
      if case .reserved(let open) = try fixture.pool.reserve(fixture.facts(30), in: other) {
        holder = Holder(open)
      }
    }
    #expect(writers == idle)
    #expect(holder?.byteCount == 32 << 10)
  }

  @Test func purgesCountTheOwnObjectsOnly() throws {
    let fixture = try Fixture()
    let other = try fixture.addTenant("other")
    for number in 1...3 {
      try fixture.store(fixture.facts(number))
      try fixture.store(fixture.facts(number), in: other)
    }
    #expect(fixture.purge(.prefixes([fixture.hash(1)])) == (1, 32 << 10))
    #expect(fixture.purge(.layouts([fixture.layout.id])) == (2, 64 << 10))
    #expect(fixture.purge(.namespace) == (0, 0))
    #expect(fixture.present(1...3, in: other).count == 3)
  }

  @Test func aMissNeverSaysThatAnotherTenantHasTheChunk() throws {
    let fixture = try Fixture()
    let other = try fixture.addTenant("other")
    try fixture.store(fixture.facts(1, variant: 1), in: other)
    fixture.purge(.keys([fixture.key(2)]), in: other)
    try fixture.store(fixture.facts(3), in: other)
    fixture.purge(.keys([fixture.key(3)]), in: other)
    #expect(fixture.missCause(1) == .neverStored)
    #expect(fixture.missCause(3) == .neverStored)
    #expect(fixture.pool.keys(of: [fixture.hash(1)], in: fixture.tenant).isEmpty)
  }

  @Test func prefetchesOfOneTenantTakeNoPlacesFromAnother() throws {
    let tiers = try TwoTiers(kibibytes: 1024) { _ in
    } adjust: {
      $0.prefetchesMax = 2
    }
    for number in 1...4 { tiers.putBelow(number) }
    let other = try tiers.fixture.addTenant("other")
    tiers.tier.put(
      ObjectFacts(
        namespace: other.name, generation: 0, key: tiers.key(9), byteCount: 32 << 10,
        checksum: TwoTiers.checksum(9), tokenCount: 32, storedAtMilliseconds: 1), fill: 9)
    let keys = (1...4).map(tiers.key)
    #expect(tiers.pool.prefetch(keys, in: tiers.fixture.tenant).started == 2)
    #expect(tiers.pool.prefetch([tiers.key(9)], in: other).started == 1)
    tiers.tier.endReads()
  }

  @Test func waitsOfOneTenantTakeNoPlacesFromAnother() throws {
    let fixture = try Fixture { $0.waitersMax = 3 }
    let other = try fixture.addTenant("other")
    for number in 1...3 {
      #expect(try fixture.pool.wait(for: fixture.key(number), in: fixture.tenant) {} != nil)
    }
    #expect(
      fixture.refusal {
        _ = try fixture.pool.wait(for: fixture.key(4), in: fixture.tenant) {}
      } == .busy(retryAfterMilliseconds: 1000))
    #expect(try fixture.pool.wait(for: fixture.key(4), in: other) {} != nil)
  }
}
