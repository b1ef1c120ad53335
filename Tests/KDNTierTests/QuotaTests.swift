import KDNCore
import Testing

@testable import KDNTier

@Suite("Quotas of the segment log")
struct QuotaTests {
  private let fixture: LogFixture
  private let other: NamespaceName

  init() throws {
    fixture = try LogFixture()
    other = try NamespaceName("other")
  }

  /// Which of the objects are there.
  private func held(
    _ numbers: Range<Int>, _ tier: DiskTier, of namespace: NamespaceName? = nil
  ) throws -> [Int] {
    try numbers.filter {
      if case .held = tier.find(try fixture.key($0), in: namespace ?? fixture.tenant) {
        return true
      }
      return false
    }
  }

  private func limit(_ tier: DiskTier, disk: Int? = nil, pinned: Int? = nil) {
    tier.setLimits(diskBytesMax: disk, pinnedBytesMax: pinned, of: fixture.tenant)
  }

  private func counted(_ tier: DiskTier) -> TierUsage {
    tier.look { state, _ in
      state.tenants.knownNumber(of: fixture.tenant).map { state.index.usageCounted(of: $0) }
        ?? TierUsage()
    }
  }

  @Test("a tenant at its quota makes room with its own oldest objects, and with no other's")
  func dropsOwnOldest() async throws {
    let tier = try await fixture.open()
    limit(tier, disk: 10_000)
    for number in 0..<4 { try await fixture.write(number, 3_000, to: tier, of: other).get() }
    for number in 0..<6 {
      try await fixture.write(number, 3_000, to: tier).get()
      #expect(tier.usage(of: fixture.tenant).bytes <= 10_000)
    }
    #expect(try held(0..<6, tier) == [3, 4, 5])
    #expect(try held(0..<4, tier, of: other) == [0, 1, 2, 3])
    #expect(tier.usage(of: fixture.tenant) == TierUsage(objects: 3, bytes: 9_000))
    #expect(tier.usage(of: fixture.tenant) == counted(tier))
    #expect(tier.usage(of: other) == TierUsage(objects: 4, bytes: 12_000))
    #expect(tier.statistics.droppedForQuota == 3)
    #expect(try await fixture.read(3, from: tier).isWhole)
    // What is here already takes no more room.
    try await fixture.write(3, 3_000, to: tier).get()
    #expect(try held(0..<6, tier) == [3, 4, 5])
    await fixture.close(tier)
  }

  @Test("what cannot fit is refused and costs nothing; others are taken meanwhile")
  func refuses() async throws {
    let tier = try await fixture.open()
    limit(tier, disk: 10_000)
    for number in 0..<3 { try await fixture.write(number, 3_000, to: tier).get() }
    let isPinned = tier.pin(
      [try fixture.key(0)], in: fixture.tenant, milliseconds: 1_000_000)
    #expect(isPinned == .success([true]))
    let end = fixture.clock.now().advanced(milliseconds: 1_000)
    #expect(tier.hold(try fixture.key(1), in: fixture.tenant, until: end))
    for isDurable in [true, false] {
      let larger = try await fixture.write(9, 10_001, to: tier, isDurable: isDurable)
      #expect(refusal(larger) == .overQuota(limit: 10_000))
      let large = try await fixture.write(9, 4_001, to: tier, isDurable: isDurable)
      #expect(refusal(large) == .overQuota(limit: 10_000))
    }
    #expect(try held(0..<3, tier) == [0, 1, 2])
    try await fixture.write(9, 20_000, to: tier, of: other).get()
    try await fixture.write(4, 4_000, to: tier).get()
    #expect(try held(0..<5, tier) == [0, 1, 4])
    // The hold is over, the pin is not.
    fixture.clock.advance(milliseconds: 1_001)
    tier.tick(now: fixture.clock.now())
    try await fixture.write(5, 7_000, to: tier).get()
    #expect(try held(0..<6, tier) == [0, 5])
    #expect(tier.unpin(try fixture.key(0), in: fixture.tenant))
    try await fixture.write(6, 1_000, to: tier).get()
    #expect(try held(0..<7, tier) == [5, 6])
    await fixture.close(tier)
  }

  private func refusal(_ result: Result<Void, TierRefusal>) -> TierRefusal? {
    if case .failure(let refusal) = result { return refusal }
    return nil
  }

  @Test("after a restart usage is counted anew, and is under the quota before anything is served")
  func appliesAfterRestart() async throws {
    let first = try await fixture.open()
    limit(first, disk: 10_000)
    for number in 0..<8 { try await fixture.write(number, 3_000, to: first).get() }
    #expect(try await fixture.purge(.keys([fixture.key(0), fixture.key(6)]), from: first) == 1)
    await fixture.close(first)
    let second = try await fixture.open { limit($0, disk: 10_000) }
    #expect(second.usage(of: fixture.tenant) == counted(second))
    #expect(try held(0..<8, second) == [4, 5, 7])
    await fixture.close(second)
    // Without a quota what was dropped, and not purged, may be there again; it is whole and counts.
    let third = try await fixture.open()
    let back = try held(0..<8, third)
    #expect(!back.contains(0) && !back.contains(6) && back.suffix(3) == [4, 5, 7])
    for number in back { #expect(try await fixture.read(number, from: third).isWhole) }
    #expect(third.usage(of: fixture.tenant).bytes == back.count * 3_000)
    limit(third, disk: 6_500)
    #expect(try held(0..<8, third) == [5, 7])
    await fixture.close(third)
  }

  @Test("what is purged, and what is over by its TTL, takes nothing of a quota any more")
  func refunds() async throws {
    let tier = try await fixture.open()
    let start = fixture.wall.milliseconds()
    limit(tier, disk: 10_000)
    try await fixture.write(0, 9_000, to: tier).get()
    #expect(try await fixture.purge(.keys([fixture.key(0)]), from: tier) == 1)
    #expect(tier.usage(of: fixture.tenant) == TierUsage())
    try await fixture.write(1, 2_000, to: tier).get()
    try await fixture.write(2, 6_000, to: tier, ttl: 1_000).get()
    fixture.wall.set(milliseconds: start + 1_000)
    // Nothing else goes for what fits in place of what is over.
    try await fixture.write(3, 7_000, to: tier).get()
    #expect(try held(0..<4, tier) == [1, 3])
    #expect(tier.usage(of: fixture.tenant) == TierUsage(objects: 2, bytes: 9_000))
    #expect(tier.find(try fixture.key(2), in: fixture.tenant) == .absent(.expired))
    // It counts no more, so no clock set back may bring it back.
    fixture.wall.set(milliseconds: start)
    #expect(tier.find(try fixture.key(2), in: fixture.tenant) == .absent(.expired))
    try await fixture.write(4, 10, to: tier, ttl: 500).get()
    fixture.wall.set(milliseconds: start + 600)
    tier.tick(now: fixture.clock.now())
    #expect(tier.usage(of: fixture.tenant) == TierUsage(objects: 2, bytes: 9_000))
    #expect(tier.usage(of: fixture.tenant) == counted(tier))
    await fixture.close(tier)
  }

  @Test("pins beyond the quota are refused all together, and what is pinned counts once")
  func boundsPins() async throws {
    let tier = try await fixture.open()
    limit(tier, pinned: 5_000)
    for number in 0..<4 { try await fixture.write(number, 2_000, to: tier).get() }
    let keys = try (0..<5).map { try fixture.key($0) }
    let pin = { tier.pin($0, in: fixture.tenant, milliseconds: 1_000) }
    #expect(pin([keys[0], keys[1], keys[2]]) == .failure(.overQuota(limit: 5_000)))
    #expect(tier.usage(of: fixture.tenant).pinnedObjects == 0)
    #expect(pin([keys[0], keys[4], keys[1], keys[0]]) == .success([true, false, true, true]))
    #expect(pin([keys[1], keys[0]]) == .success([true, true]))
    #expect(pin([keys[1], keys[2]]) == .failure(.overQuota(limit: 5_000)))
    #expect(
      tier.usage(of: fixture.tenant)
        == TierUsage(objects: 4, bytes: 8_000, pinnedObjects: 2, pinnedBytes: 4_000))
    // Under a lower quota pins last, and no more are taken.
    limit(tier, pinned: 1_000)
    #expect(tier.usage(of: fixture.tenant).pinnedBytes == 4_000)
    #expect(pin([keys[0]]) == .success([true]))
    fixture.wall.set(milliseconds: fixture.wall.milliseconds() + 1_001)
    tier.tick(now: fixture.clock.now())
    #expect(tier.usage(of: fixture.tenant).pinnedBytes == 0)
    #expect(pin([keys[0]]) == .failure(.overQuota(limit: 1_000)))
    #expect(tier.usage(of: fixture.tenant) == counted(tier))
    await fixture.close(tier)
  }
}
