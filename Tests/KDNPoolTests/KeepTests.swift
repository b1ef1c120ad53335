import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

@Suite("Keeping by name")
struct KeepTests {
  private static let bounds = KeepBounds(milliseconds: 100, sharePercent: 50)
  private static let size = 32 << 10

  private func keep(_ fixture: Fixture, _ number: Int, _ bounds: KeepBounds = bounds) -> KeepAnswer
  {
    fixture.pool.keep(fixture.key(number), in: fixture.tenant, within: bounds)
  }

  @Test("keeps what was found from eviction until the time is over")
  func keepsFromEviction() throws {
    let fixture = try Fixture()
    for number in 0..<8 { try fixture.store(fixture.facts(number)) }
    #expect(keep(fixture, 0) == .kept(byteCount: Self.size))
    for number in 8..<30 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.has(0))
    fixture.clock.advance(milliseconds: 100)
    for number in 30..<52 { try fixture.store(fixture.facts(number)) }
    #expect(!fixture.has(0) && fixture.pool.keptByName == (0, 0))
  }

  @Test("counts once however often it is asked, and lasts from the last time on")
  func again() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(0))
    for _ in 0..<5 {
      #expect(keep(fixture, 0) == .kept(byteCount: Self.size))
      fixture.clock.advance(milliseconds: 60)
    }
    #expect(fixture.pool.keptByName == (1, Self.size))
    for number in 1..<30 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.has(0))
    fixture.clock.advance(milliseconds: 40)
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(fixture.pool.keptByName == (0, 0))
  }

  @Test("never keeps more than its share, of the arena and of the quota")
  func shares() throws {
    let fixture = try Fixture()
    for number in 0..<8 { try fixture.store(fixture.facts(number)) }
    let answers = (0..<8).map { keep(fixture, $0) }
    #expect(answers.count { $0 == .kept(byteCount: Self.size) } == 4)
    #expect(answers.count { $0 == .present(byteCount: Self.size) } == 4)
    let small = try fixture.addTenant("small", NamespaceLimits(ramBytesMax: 64 << 10))
    try fixture.store(fixture.facts(0), in: small)
    let wide = KeepBounds(milliseconds: 100, sharePercent: 90)
    #expect(
      fixture.pool.keep(fixture.key(0), in: small, within: wide) == .kept(byteCount: Self.size))
    try fixture.store(fixture.facts(1), in: small)
    #expect(
      fixture.pool.keep(fixture.key(1), in: small, within: wide) == .present(byteCount: Self.size))
  }

  @Test("keeps nothing that is not there, and nothing for no time")
  func nothing() throws {
    let fixture = try Fixture()
    #expect(keep(fixture, 0) == .absent)
    try fixture.store(fixture.facts(0))
    let never = KeepBounds(milliseconds: 0, sharePercent: 50)
    #expect(keep(fixture, 0, never) == .present(byteCount: Self.size))
    #expect(fixture.pool.keptByName == (0, 0))
  }

  @Test("lets purges and replacements take the object away")
  func beaten() throws {
    let fixture = try Fixture()
    let key = ObjectKey(opaque: fixture.hash(1))
    _ = try fixture.replace(key, fill: 1)
    #expect(
      fixture.pool.keep(key, in: fixture.tenant, within: Self.bounds) == .kept(byteCount: Self.size)
    )
    _ = try fixture.replace(key, fill: 2)
    #expect(
      fixture.pool.keep(key, in: fixture.tenant, within: Self.bounds) == .kept(byteCount: Self.size)
    )
    #expect(fixture.pool.keptByName == (1, Self.size))
    fixture.purge(.keys([key]))
    #expect(fixture.pool.keep(key, in: fixture.tenant, within: Self.bounds) == .absent)
    #expect(fixture.pool.keptByteCount(of: key, in: fixture.tenant) == Self.size)
    fixture.clock.advance(milliseconds: 100)
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(fixture.arena.statistics.allocatedBytes == 0)
    #expect(fixture.pool.keptByteCount(of: key, in: fixture.tenant) == nil)
  }

  @Test("holds what only the slower tier has there, and begins to read it")
  func below() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let answer = tiers.pool.keep(tiers.key(1), in: tiers.fixture.tenant, within: Self.bounds)
    #expect(answer == .kept(byteCount: Self.size))
    #expect(tiers.tier.state.withLock { $0.holds.count } == 1)
    tiers.tier.endReads()
    #expect(tiers.isInRAM(1))
    // In RAM by now: kept there from here on, and counted once.
    #expect(
      tiers.pool.keep(tiers.key(1), in: tiers.fixture.tenant, within: Self.bounds)
        == .kept(byteCount: Self.size))
    #expect(tiers.pool.keptByName == (1, Self.size))
  }
}
