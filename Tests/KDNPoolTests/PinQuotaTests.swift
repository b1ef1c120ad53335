import KDNCore
import KDNTier
import Testing

@testable import KDNPool

/// Objects of 32 KiB; a limit of 96 KiB has room for three pins.
struct PinQuotaTests {
  private let limits = NamespaceLimits(pinnedBytesMax: 96 << 10)

  private func field(of body: () throws -> Void) -> String? {
    do {
      try body()
      return nil
    } catch PoolRefusal.overQuota(let fault) {
      return fault.field
    } catch {
      return "\(error)"
    }
  }

  @Test func pinsBeyondTheLimitAreRefusedAllOrNothing() throws {
    let fixture = try Fixture(kibibytes: 512)
    fixture.pool.setLimits(limits, of: fixture.tenant)
    let other = try fixture.addTenant("other")
    for number in 1...6 {
      try fixture.store(fixture.facts(number))
      try fixture.store(fixture.facts(number), in: other)
    }
    let keys = (1...6).map { fixture.key($0) }
    let pool = fixture.pool
    _ = try pool.pin(keys, ttlMilliseconds: 100, in: other)
    #expect(
      field { _ = try pool.pin(Array(keys[0..<4]), ttlMilliseconds: 100, in: fixture.tenant) }
        == "pinnedBytes")
    #expect(pool.share(of: fixture.tenant).pinnedObjects == 0)
    #expect(
      try pool.pin(Array(keys[0..<3]) + keys[0..<2], ttlMilliseconds: 100, in: fixture.tenant)
        == [true, true, true, true, true])
    #expect(pool.share(of: fixture.tenant).pinnedBytes == 96 << 10)
    // What is pinned already counts once; one more is over.
    _ = try pool.pin(Array(keys[1..<3]), ttlMilliseconds: 200, in: fixture.tenant)
    #expect(
      field { _ = try pool.pin(Array(keys[2..<4]), ttlMilliseconds: 900, in: fixture.tenant) }
        == "pinnedBytes")
    fixture.clock.advance(milliseconds: 100)
    _ = pool.sweep(now: fixture.clock.now())
    #expect(pool.share(of: fixture.tenant).pinnedObjects == 2)
    #expect(pool.share(of: fixture.tenant).counts.quotaRefusals == 2)
    _ = try pool.pin([keys[3]], ttlMilliseconds: 100, in: fixture.tenant)
  }

  @Test(arguments: [0, 1, 2, 3]) func pinsThatEndGiveTheirBytesBack(way: Int) throws {
    let fixture = try Fixture(kibibytes: 512)
    fixture.pool.setLimits(limits, of: fixture.tenant)
    for number in 1...3 { try fixture.store(fixture.facts(number, ttl: 50)) }
    let keys = (1...3).map { fixture.key($0) }
    _ = try fixture.pool.pin(keys, ttlMilliseconds: 1000, in: fixture.tenant)
    switch way {
    case 0: fixture.purge(.keys(keys))
    case 1: fixture.purge(.namespace)
    case 2: _ = fixture.pool.unpin(keys, in: fixture.tenant)
    default: fixture.clock.advance(milliseconds: 50)
    }
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(fixture.pool.share(of: fixture.tenant).pinnedBytes == 0)
    #expect(fixture.pool.share(of: fixture.tenant).pinnedObjects == 0)
    for number in 11...13 { try fixture.store(fixture.facts(number)) }
    let more = (11...13).map { fixture.key($0) }
    _ = try fixture.pool.pin(more, ttlMilliseconds: 1000, in: fixture.tenant)
    #expect(fixture.pool.share(of: fixture.tenant).pinnedBytes == 96 << 10)
  }

  @Test func aRefusalBelowTakesThePinsInRAMBack() throws {
    let tiers = try TwoTiers(kibibytes: 512)
    let tenant = tiers.fixture.tenant
    tiers.tier.set { $0.writes = .atOnce }
    for number in 1...2 { try tiers.store(number) }
    for number in 11...14 { tiers.putBelow(number) }
    tiers.pool.setLimits(limits, of: tenant)
    _ = try tiers.pool.pin([tiers.key(1)], ttlMilliseconds: 300, in: tenant)
    let keys = [1, 2, 11, 12].map(tiers.key)
    #expect(
      field { _ = try tiers.pool.pin(keys, ttlMilliseconds: 900, in: tenant) } == "pinnedBytes")
    let share = tiers.pool.share(of: tenant)
    #expect(share.pinnedObjects == 1 && share.below.pinnedObjects == 1)
    // The pin from before ends when it would have.
    tiers.fixture.clock.advance(milliseconds: 300)
    _ = tiers.pool.sweep(now: tiers.fixture.clock.now())
    #expect(tiers.pool.share(of: tenant).pinnedObjects == 0)
  }

  @Test func anObjectThatThePinsBelowHaveNoRoomForStaysPinnedInRAM() throws {
    let tiers = try TwoTiers(kibibytes: 512)
    let tenant = tiers.fixture.tenant
    for number in 11...13 { tiers.putBelow(number) }
    tiers.pool.setLimits(limits, of: tenant)
    _ = try tiers.pool.pin((11...13).map(tiers.key), ttlMilliseconds: 900, in: tenant)
    try tiers.store(1)
    #expect(try tiers.pool.pin([tiers.key(1)], ttlMilliseconds: 900, in: tenant) == [true])
    tiers.tier.endWrites()
    #expect(tiers.isBelow(1) && tiers.tier.pin(of: tiers.key(1)) == nil)
    #expect(tiers.pool.share(of: tenant).pinnedObjects == 1)
  }
}
