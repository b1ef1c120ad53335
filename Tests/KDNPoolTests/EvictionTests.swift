import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

/// The arena of 256 KiB holds eight objects of 32 KiB.
struct EvictionTests {
  @Test func suffixesGoBeforePrefixes() throws {
    let fixture = try Fixture()
    try fixture.storeChain(Array(1...8))
    for number in 20..<24 { try fixture.store(fixture.facts(number, cost: 1 << 40)) }
    #expect(fixture.present(1...8) == [1, 2, 3, 4])
  }

  @Test func aParentStaysWhileAChildIsHereEvenIfStoredAfterIt() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(2, after: 1, cost: 1 << 30))
    try fixture.store(fixture.facts(1, cost: 1))
    for number in 20..<27 { try fixture.store(fixture.facts(number, cost: 1 << 20)) }
    #expect(fixture.has(1) && fixture.has(2))
  }

  @Test func orphansGoBeforeOthers() throws {
    let fixture = try Fixture()
    try fixture.storeChain([1, 2, 3])
    for number in 20..<25 { try fixture.store(fixture.facts(number, tokens: 32)) }
    fixture.purge(.keys([fixture.key(2)]))
    try fixture.store(fixture.facts(30))
    #expect(fixture.has(3))
    try fixture.store(fixture.facts(31))
    #expect(!fixture.has(3))
    #expect(fixture.present(20..<25).count == 5)
  }

  @Test func parentsThatNameEachOtherCanStillGo() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1, after: 2))
    try fixture.store(fixture.facts(2, after: 1))
    try fixture.store(fixture.facts(3, after: 3))
    for number in 20..<28 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.present(20..<28).count == 8)
  }

  @Test func dearAndOftenUsedObjectsOutliveCheapAndUnusedOnes() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1, cost: 10))
    try fixture.store(fixture.facts(2, cost: 1_000_000))
    try fixture.store(fixture.facts(3, cost: 10))
    for _ in 0..<5 { #expect(fixture.missCause(3) == nil) }
    #expect(fixture.pool.touch([fixture.key(3), fixture.key(99)], in: fixture.tenant) == 1)
    for number in 20..<26 { try fixture.store(fixture.facts(number, cost: 40)) }
    #expect(fixture.present(1...3) == [2, 3])
  }

  @Test func leastRecentlyUsedGoesFirstUnderLRU() throws {
    let fixture = try Fixture(policy: LRUPolicy())
    try fixture.storeChain(Array(1...8))
    #expect(fixture.missCause(1) == nil)
    for number in 20..<23 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.present(1...8) == [1, 5, 6, 7, 8])
  }

  @Test func aLeasedPrefixStaysAndGoesWhenTheLeaseEnds() throws {
    let fixture = try Fixture()
    try fixture.storeChain(Array(1...8))
    let answer = try fixture.match(Array(1...8), lease: 1000)
    let refusal = fixture.refusal { try fixture.store(fixture.facts(20)) }
    #expect(refusal == .busy(retryAfterMilliseconds: 1000))
    #expect(fixture.present(1...8).count == 8)
    #expect(fixture.pool.release(lease: answer.leaseNumber, owner: OwnerID(number: 1)))
    try fixture.store(fixture.facts(20))
    #expect(fixture.present(1...8) == Array(1...7))
    _ = try fixture.match(Array(1...7), lease: 1000)
    fixture.clock.advance(milliseconds: 999)
    try fixture.store(fixture.facts(21))
    #expect(fixture.present(1...8).count == 7)
    #expect(!fixture.has(20))
    fixture.clock.advance(milliseconds: 1)
    try fixture.store(fixture.facts(22))
    #expect(fixture.present(1...7).count + fixture.present([21, 22]).count == 8)
    #expect(fixture.pool.statistics.leases == 0)
  }

  @Test func anObjectBeingReadStays() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1, cost: 1))
    guard case .hit(let lease) = fixture.pool.lookup(fixture.key(1), in: fixture.tenant) else {
      Issue.record("missed")
      return
    }
    for number in 20..<30 { try fixture.store(fixture.facts(number, cost: 1 << 20)) }
    #expect(fixture.has(1))
    #expect(lease.object.key == fixture.key(1))
  }

  @Test func pinsKeepUntilTheirEndOrUnpin() throws {
    let fixture = try Fixture()
    for number in 1...8 { try fixture.store(fixture.facts(number)) }
    let keys = (1...9).map { fixture.key($0) }
    let pinned = try fixture.pool.pin(keys, ttlMilliseconds: 500, in: fixture.tenant)
    #expect(pinned == [Bool](repeating: true, count: 8) + [false])
    _ = try fixture.pool.pin([keys[0]], ttlMilliseconds: 1, in: fixture.tenant)
    #expect(
      fixture.refusal { try fixture.store(fixture.facts(20)) }
        == .busy(retryAfterMilliseconds: 500))
    #expect(
      fixture.pool.unpin([keys[4], keys[4], keys[8]], in: fixture.tenant) == [true, false, false])
    try fixture.store(fixture.facts(20))
    #expect(fixture.present(1...8) == [1, 2, 3, 4, 6, 7, 8])
    #expect(fixture.pool.statistics.pins == 7)
    fixture.clock.advance(milliseconds: 500)
    for number in 21..<28 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.pool.statistics.pins == 0)
    #expect(fixture.present(1...8).isEmpty)
  }

  @Test func roomIsMadeFromTheDeadAndExpiredBeforeTheLiving() throws {
    let fixture = try Fixture()
    let other = try fixture.pool.namespace(NamespaceName("other"))
    _ = try fixture.pool.register(fixture.layout, in: other)
    for number in 1...2 { try fixture.store(fixture.facts(number), in: other) }
    for number in 3...4 { try fixture.store(fixture.facts(number, ttl: 10)) }
    for number in 5...8 { try fixture.store(fixture.facts(number)) }
    fixture.purge(.namespace, in: other)
    fixture.clock.advance(milliseconds: 10)
    for number in 20..<24 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.present(5...8).count == 4)
    #expect(fixture.pool.statistics.evictions == 0)
    #expect(fixture.pool.statistics.deadObjects == 0)
  }

  @Test func openReservationsMakeAnImpatientHint() throws {
    let fixture = try Fixture(kibibytes: 64)
    guard
      case .reserved(let open) = try fixture.pool.reserve(
        fixture.facts(1, tokens: 64), in: fixture.tenant)
    else {
      Issue.record("not reserved")
      return
    }
    #expect(
      fixture.refusal { try fixture.store(fixture.facts(2)) }
        == .busy(retryAfterMilliseconds: 10))
    #expect(open.byteCount == 64 << 10)
    #expect(fixture.pool.statistics.refusals == 1)
  }
}
