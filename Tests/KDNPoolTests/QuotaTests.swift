import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

/// Objects of 32 KiB; a quota of 128 KiB has room for four of them, the arena for sixteen.
struct QuotaTests {
  private func limited(
    kibibytes: Int = 512, ram: Int? = 128 << 10, pinned: Int? = nil
  ) throws -> (fixture: Fixture, other: Namespace) {
    let fixture = try Fixture(kibibytes: kibibytes)
    fixture.pool.setLimits(
      NamespaceLimits(ramBytesMax: ram, pinnedBytesMax: pinned), of: fixture.tenant)
    return (fixture, try fixture.addTenant("other"))
  }

  private func charged(_ fixture: Fixture, _ namespace: Namespace? = nil) -> Int {
    fixture.pool.share(of: namespace ?? fixture.tenant).ramBytes
  }

  @Test func aTenantAtItsQuotaEvictsItsOwnObjectsOnly() throws {
    let (fixture, other) = try limited()
    for number in 1...4 { try fixture.store(fixture.facts(number), in: other) }
    for number in 10..<30 {
      try fixture.store(fixture.facts(number))
      #expect(charged(fixture) <= 128 << 10)
    }
    #expect(fixture.present(10..<30).count == 4)
    #expect(fixture.present(1...4, in: other).count == 4)
    #expect(fixture.tenant.counters.snapshot.evictions == 16)
    #expect(other.counters.snapshot.evictions == 0)
  }

  @Test func evictionsForAQuotaMakeNobodyElseLookOld() throws {
    let (fixture, other) = try limited(kibibytes: 256)
    for number in 1...4 { try fixture.store(fixture.facts(number, cost: 10), in: other) }
    for number in 10..<60 { try fixture.store(fixture.facts(number, cost: 1 << 30)) }
    #expect(fixture.pool.policyAge == 0)
    // What the tenant itself has turned over looks old to all, however dear it is.
    for number in 5...6 { try fixture.store(fixture.facts(number, cost: 10), in: other) }
    #expect(fixture.present(1...6, in: other).count == 6)
    #expect(fixture.present(10..<60).count == 2)
  }

  @Test func aTenantThatEvictsForItsQuotaStillForgetsWhatWasDearLongAgo() throws {
    let (fixture, _) = try limited()
    for number in 1...4 { try fixture.store(fixture.facts(number, cost: 40)) }
    #expect(fixture.missCause(1) == nil)
    for number in 10..<20 { try fixture.store(fixture.facts(number, cost: 30)) }
    #expect(!fixture.has(1))
  }

  @Test func aReservationIsChargedUntilItIsDropped() throws {
    let (fixture, _) = try limited()
    do {
      let answer = try fixture.pool.reserve(fixture.facts(1), in: fixture.tenant)
      guard case .reserved(let open) = answer else {
        Issue.record("not reserved")
        return
      }
      #expect(open.byteCount == 32 << 10)
      #expect(charged(fixture) == 32 << 10)
      #expect(fixture.pool.share(of: fixture.tenant).bytes == 0)
    }
    #expect(charged(fixture) == 0)
  }

  @Test func aFailedPublicationIsRefunded() throws {
    let (fixture, _) = try limited()
    let facts = fixture.facts(1)
    guard
      case .reserved(let first) = try fixture.pool.reserve(facts, in: fixture.tenant),
      case .reserved(let second) = try fixture.pool.reserve(facts, in: fixture.tenant)
    else {
      Issue.record("not reserved")
      return
    }
    _ = try fixture.pool.publish(first, facts, checksum: Checksum(1), in: fixture.tenant)
    #expect(charged(fixture) == 64 << 10)
    let taken = Holder(second)
    #expect(throws: PoolRefusal.self) {
      try taken.publish(facts, checksum: Checksum(2), to: fixture.pool, in: fixture.tenant)
    }
    #expect(charged(fixture) == 32 << 10)
  }

  @Test(arguments: [0, 1, 2]) func whatIsReadStaysChargedAfterItWasDropped(way: Int) throws {
    let (fixture, _) = try limited()
    try fixture.store(fixture.facts(1, ttl: 10))
    do {
      guard case .hit(let lease) = fixture.pool.lookup(fixture.key(1), in: fixture.tenant) else {
        Issue.record("missed")
        return
      }
      switch way {
      case 0: fixture.purge(.keys([fixture.key(1)]))
      case 1: fixture.purge(.namespace)
      default: fixture.clock.advance(milliseconds: 10)
      }
      while fixture.pool.sweep(now: fixture.clock.now()) {}
      #expect(!fixture.has(1))
      #expect(charged(fixture) == lease.lease.byteCount)
    }
    #expect(charged(fixture) == 0)
  }

  @Test func anObjectLargerThanTheQuotaIsTooLarge() throws {
    let (fixture, _) = try limited(ram: 40 << 10)
    #expect(
      fixture.refusal { try fixture.store(fixture.facts(1, tokens: 41)) }
        == .tooLarge(bytes: 41 << 10, limit: 40 << 10))
    try fixture.store(fixture.facts(2, tokens: 40))
    #expect(fixture.tenant.counters.snapshot.quotaRefusals == 1)
  }

  @Test func aQuotaFullOfLeasesIsBusyUntilTheFirstEnds() throws {
    let (fixture, _) = try limited()
    try fixture.storeChain(Array(1...4))
    _ = try fixture.match(Array(1...4), lease: 700)
    #expect(
      fixture.refusal { try fixture.store(fixture.facts(9)) }
        == .busy(retryAfterMilliseconds: 700))
    fixture.clock.advance(milliseconds: 700)
    try fixture.store(fixture.facts(9))
    #expect(fixture.present(1...4) == [1, 2, 3])
  }

  @Test func aQuotaFullOfReadersOrWritersIsBusy() throws {
    let (fixture, _) = try limited(ram: 64 << 10)
    try fixture.store(fixture.facts(1))
    guard
      case .hit(let lease) = fixture.pool.lookup(fixture.key(1), in: fixture.tenant),
      case .reserved(let open) = try fixture.pool.reserve(fixture.facts(2), in: fixture.tenant)
    else {
      Issue.record("no reader and writer")
      return
    }
    let refusal = fixture.refusal { try fixture.store(fixture.facts(3)) }
    #expect(refusal == .busy(retryAfterMilliseconds: 10))
    #expect(lease.lease.byteCount == open.byteCount)
  }

  @Test func aQuotaFullOfPinsIsOverQuota() throws {
    let (fixture, _) = try limited()
    try fixture.storeChain(Array(1...4))
    // The pinned child keeps its parents, too.
    _ = try fixture.pool.pin([fixture.key(4)], ttlMilliseconds: 500, in: fixture.tenant)
    guard case .overQuota(let fault) = fixture.refusal({ try fixture.store(fixture.facts(9)) })
    else {
      Issue.record("not over the quota")
      return
    }
    #expect(fault.field == "ramBytes" && fault.limit == 128 << 10 && fault.value == 160 << 10)
    #expect(fixture.tenant.counters.snapshot.quotaRefusals == 1)
    #expect(fixture.pool.unpin([fixture.key(4)], in: fixture.tenant) == [true])
    try fixture.store(fixture.facts(9))
  }

  @Test func pinsAndAReaderAreBusyOnlyIfTheReadersEndHelps() throws {
    let (fixture, _) = try limited()
    for number in 1...4 { try fixture.store(fixture.facts(number)) }
    let keys = (1...3).map { fixture.key($0) }
    _ = try fixture.pool.pin(keys, ttlMilliseconds: 500, in: fixture.tenant)
    guard case .hit(let lease) = fixture.pool.lookup(fixture.key(4), in: fixture.tenant) else {
      Issue.record("missed")
      return
    }
    #expect(
      fixture.refusal { try fixture.store(fixture.facts(9)) }
        == .busy(retryAfterMilliseconds: 500))
    guard
      case .overQuota = fixture.refusal({ try fixture.store(fixture.facts(9, tokens: 33)) })
    else {
      Issue.record("busy, but no end of a reader gives room for it")
      return
    }
    #expect(lease.lease.byteCount == 32 << 10)
  }

  @Test func aLoweredQuotaIsReachedInTheBackground() throws {
    let (fixture, other) = try limited(kibibytes: 1 << 14, ram: nil)
    for number in 0..<400 { try fixture.store(fixture.facts(number)) }
    for number in 0..<10 { try fixture.store(fixture.facts(number), in: other) }
    fixture.pool.setLimits(NamespaceLimits(ramBytesMax: 128 << 10), of: fixture.tenant)
    #expect(charged(fixture) == 400 * 32 << 10)
    #expect(fixture.pool.sweep(now: fixture.clock.now()))
    #expect(fixture.present(0..<400).count == 400 - Pool.sweepCountMax)
    #expect(!fixture.pool.sweep(now: fixture.clock.now()))
    #expect(fixture.present(0..<400).count == 4)
    #expect(fixture.present(0..<10, in: other).count == 10)
    #expect(!fixture.pool.sweep(now: fixture.clock.now()))
    #expect(fixture.present(0..<400).count == 4)
  }

  @Test func aSweepEvictsNothingForAQuotaThatTheEndedLeaveRoomIn() throws {
    let (fixture, _) = try limited(ram: nil)
    for number in 1...4 { try fixture.store(fixture.facts(number)) }
    for number in 5...8 { try fixture.store(fixture.facts(number, ttl: 5)) }
    fixture.pool.setLimits(NamespaceLimits(ramBytesMax: 128 << 10), of: fixture.tenant)
    fixture.clock.advance(milliseconds: 5)
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(fixture.present(1...8) == [1, 2, 3, 4])
    #expect(fixture.pool.statistics.evictions == 0)
  }

  @Test func aSweepEvictsForAQuotaOnlyWhenAllPinsThatAreDueHaveEnded() throws {
    let (fixture, _) = try limited(kibibytes: 1 << 14, ram: nil)
    let count = Pool.sweepCountMax + 2
    for number in 0..<count { try fixture.store(fixture.facts(number)) }
    // The least worth has the pin that ends last.
    for number in 0..<count {
      _ = try fixture.pool.pin(
        [fixture.key(number)], ttlMilliseconds: number == 0 ? 20 : 10, in: fixture.tenant)
    }
    let limits = NamespaceLimits(ramBytesMax: (count - 1) * 32 << 10)
    fixture.pool.setLimits(limits, of: fixture.tenant)
    fixture.clock.advance(milliseconds: 20)
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(fixture.present(0..<count) == Array(1..<count))
  }

  @Test func roomForOthersComesFirstFromWhoIsAboveALoweredQuota() throws {
    let (fixture, other) = try limited(kibibytes: 256, ram: nil)
    for number in 1...4 { try fixture.store(fixture.facts(number, cost: 1 << 40)) }
    for number in 1...4 { try fixture.store(fixture.facts(number, cost: 1), in: other) }
    fixture.pool.setLimits(NamespaceLimits(ramBytesMax: 64 << 10), of: fixture.tenant)
    for number in 5...6 { try fixture.store(fixture.facts(number, cost: 1), in: other) }
    #expect(fixture.present(1...4).count == 2)
    #expect(fixture.present(1...6, in: other).count == 6)
    // Now that it is down to its quota, the least worth goes.
    try fixture.store(fixture.facts(7, cost: 1), in: other)
    #expect(fixture.present(1...4).count == 2)
    #expect(fixture.present(1...7, in: other).count == 6)
  }

  @Test func aQuotaThatIsTakenAwayLetsTheTenantGrow() throws {
    let (fixture, _) = try limited()
    for number in 1...8 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.present(1...8).count == 4)
    fixture.pool.setLimits(.none, of: fixture.tenant)
    for number in 10..<18 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.present(10..<18).count == 8)
  }

  @Test func purgedObjectsOfOneselfMakeRoomBeforeLivingOnes() throws {
    let (fixture, other) = try limited()
    for number in 1...4 { try fixture.store(fixture.facts(number), in: other) }
    fixture.purge(.namespace, in: other)
    for number in 1...3 { try fixture.store(fixture.facts(number)) }
    fixture.purge(.namespace)
    #expect(charged(fixture) == 96 << 10)
    for number in 5...8 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.present(5...8).count == 4)
    #expect(fixture.pool.statistics.evictions == 0)
    // The others' dead are no help to a quota: they stay for the sweep.
    #expect(fixture.pool.statistics.deadObjects == 4)
  }

  @Test func fetchedChargesEndWithTheObjects() throws {
    let (fixture, _) = try limited()
    for number in 1...8 { try fixture.store(fixture.facts(number)) }
    fixture.purge(.namespace)
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(charged(fixture) == 0)
    #expect(fixture.tenant.quota.excessBytes == 0)
  }
}

/// Keeps a reservation where only copyable things fit.
final class Holder {
  private var reservation: StoreReservation?
  let byteCount: Int

  init(_ reservation: consuming StoreReservation) {
    byteCount = reservation.byteCount
    self.reservation = consume reservation
  }

  @discardableResult
  func publish(
    _ facts: StoreFacts, checksum: Checksum, to pool: Pool, in namespace: Namespace
  ) throws -> PublishAnswer {
    guard let taken = reservation.take() else {
      throw PoolRefusal.notFound(what: "reservation", number: 0)
    }
    return try pool.publish(taken, facts, checksum: checksum, in: namespace)
  }
}
