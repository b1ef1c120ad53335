import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct PurgeTests {
  @Test func purgeOfAPrefixDropsWhatBuildsOnIt() throws {
    let fixture = try Fixture()
    try fixture.storeChain([1, 2, 3])
    try fixture.store(fixture.facts(4, after: 2))
    try fixture.store(fixture.facts(5, after: 1))
    try fixture.store(fixture.facts(3, after: 2, tokens: 1, variant: 9))
    let purged = fixture.purge(.prefixes([fixture.hash(2)]))
    #expect(purged == (4, 97 << 10))
    #expect(fixture.present(1...5) == [1, 5])
    #expect(fixture.missCause(4) == .purged)
  }

  @Test func purgeOfAPrefixFindsChildrenWhoseParentIsAway() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(3, after: 2))
    try fixture.store(fixture.facts(4, after: 3))
    #expect(fixture.purge(.prefixes([fixture.hash(2)])).objects == 2)
  }

  @Test func purgeOfALayoutLeavesOpaqueObjectsAndTheLayoutItself() throws {
    let fixture = try Fixture()
    let opaque = ObjectKey(opaque: fixture.hash(50))
    try fixture.store(StoreFacts(key: opaque, byteCount: 10))
    try fixture.storeChain([1, 2])
    let purged = fixture.purge(.layouts([fixture.layout.id]))
    #expect(purged == (2, 64 << 10))
    #expect(fixture.pool.contains(opaque, in: fixture.tenant))
    #expect(fixture.pool.geometry(of: fixture.layout.id, in: fixture.tenant) != nil)
  }

  @Test func purgeOfANamespaceHidesAllAtOnceAndSweepReclaims() throws {
    let fixture = try Fixture()
    let other = try fixture.pool.namespace(NamespaceName("other"))
    try fixture.storeChain([1, 2, 3])
    let opaque = ObjectKey(opaque: fixture.hash(50))
    try fixture.store(StoreFacts(key: opaque, byteCount: 10), in: other)
    #expect(fixture.purge(.namespace) == (3, 96 << 10))
    #expect(fixture.tenant.generation == 1)
    #expect(fixture.present(1...3).isEmpty)
    #expect(fixture.missCause(2) == .purged)
    #expect(try fixture.match([1]).missCause == .purged)
    #expect(fixture.pool.contains(opaque, in: other))
    #expect(fixture.pool.statistics.deadObjects == 3)
    #expect(fixture.purge(.namespace) == (0, 0))
    try fixture.store(fixture.facts(2))
    #expect(!fixture.pool.sweep(now: fixture.clock.now()))
    #expect(fixture.pool.statistics.deadObjects == 0)
    #expect(fixture.present(1...3) == [2])
    #expect(fixture.arena.statistics.extents == 2)
    #expect(fixture.missCause(1) == .purged)
  }

  @Test func purgeBeatsPinsAndLeases() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    _ = try fixture.pool.pin([fixture.key(1)], ttlMilliseconds: 1000, in: fixture.tenant)
    let answer = try fixture.match([1], lease: 1000)
    #expect(fixture.purge(.keys([fixture.key(1)])).objects == 1)
    #expect(!fixture.has(1))
    #expect(fixture.pool.statistics.pins == 0)
    #expect(fixture.arena.statistics.extents == 1)
    #expect(fixture.pool.release(lease: answer.leaseNumber, owner: OwnerID(number: 1)))
    #expect(fixture.arena.statistics.extents == 0)
  }

  @Test func aSweepDoesBoundedWorkAndSaysThatMoreIsLeft() throws {
    let fixture = try Fixture(kibibytes: 1024)
    let count = Pool.sweepCountMax + 44
    for number in 0..<count { try fixture.store(fixture.facts(number, tokens: 1, ttl: 5)) }
    fixture.clock.advance(milliseconds: 5)
    #expect(fixture.pool.sweep(now: fixture.clock.now()))
    #expect(fixture.pool.statistics.objects == 44)
    #expect(!fixture.pool.sweep(now: fixture.clock.now()))
    #expect(fixture.pool.statistics.objects == 0)
    #expect(fixture.pool.statistics.expired == UInt64(count))
  }
}
