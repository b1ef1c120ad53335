import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

struct DurabilityTests {
  private func isDurable(_ number: Int, _ tiers: TwoTiers) -> Bool {
    tiers.tier.state.withLock { state in
      state.stored.contains { $0.key.key == tiers.key(number) && $0.value.isDurable }
    }
  }

  @Test func nothingIsDurableWithoutASlowerTier() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    let answer = Box<[PoolRefusal?]>([])
    fixture.pool.makeDurable(fixture.key(1), in: fixture.tenant) { answer.set([$0]) }
    #expect(answer.value == [.unavailable])
  }

  @Test func aDurableObjectJumpsTheQueue() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 64 << 10 })
    for number in 1...4 { try tiers.store(number) }
    tiers.tier.endWrite(.busy)
    tiers.tier.endWrite(.busy)
    let answer = tiers.makeDurable(4)
    #expect(answer.value.isEmpty)
    #expect(tiers.tier.pendingWrites == [tiers.key(4)] && tiers.tier.count("write durable") == 1)
    tiers.tier.endWrite()
    #expect(answer.value == [nil] && isDurable(4, tiers))
    tiers.tier.endWrites()
    // Its place in the queue is gone: it was written once.
    #expect(tiers.tier.storedKeys.count == 4)
    #expect(tiers.tier.count("write") + tiers.tier.count("write durable") == 6)
    #expect(tiers.writes.counts.written == 4 && tiers.writes.leasedBytes == 0)
  }

  @Test func whatIsBeingWrittenOrHeldIsOnlyMadeDurable() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrites()
    #expect(tiers.makeDurable(1).value == [nil] && isDurable(1, tiers))
    tiers.putBelow(2)
    tiers.tier.set { state in
      for name in state.stored.keys { state.stored[name]?.isDurable = false }
    }
    #expect(tiers.makeDurable(2).value == [nil] && isDurable(2, tiers))
    #expect(tiers.tier.count("write durable") == 0 && tiers.tier.count("make durable") == 2)
  }

  @Test func whatTheTierMadeRoomOfSinceIsWrittenAgain() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrites()
    tiers.tier.set { $0.stored = [:] }
    let answer = tiers.makeDurable(1)
    #expect(answer.value.isEmpty && tiers.tier.count("write durable") == 1)
    tiers.tier.endWrites()
    #expect(answer.value == [nil] && isDurable(1, tiers))
  }

  @Test func beyondTheBoundDurabilityIsRefusedAsBusy() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 32 << 10 })
    try tiers.store(1)
    try tiers.store(2)
    #expect(tiers.makeDurable(2).value == [.busy(retryAfterMilliseconds: 100)])
    tiers.tier.endWrites()
    #expect(tiers.isBelow(1) && tiers.isBelow(2))
  }

  @Test(arguments: [
    (TierRefusal.busy, PoolRefusal.busy(retryAfterMilliseconds: 100)),
    (.closing, .busy(retryAfterMilliseconds: 100)), (.failed, .unavailable),
    (.notAdmitted, .unavailable), (.gone, .notFound(what: "object", number: 0)),
    (.tooLarge(limit: 9), .tooLarge(bytes: 32 << 10, limit: 9)),
  ])
  func refusalsOfTheTierAreToldInThePoolsWords(refusal: TierRefusal, told: PoolRefusal) throws {
    let tiers = try TwoTiers(admission: OnlyWanted())
    try tiers.store(1)
    let answer = tiers.makeDurable(1)
    tiers.tier.endWrite(refusal)
    #expect(answer.value == [told])
    #expect(tiers.isInRAM(1) && tiers.writes.leasedBytes == 0)
  }

  @Test func afterABusyAnswerTheObjectIsWrittenBehindAllTheSame() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrite(.busy)
    let answer = tiers.makeDurable(1)
    tiers.tier.endWrite(.busy)
    #expect(answer.value == [.busy(retryAfterMilliseconds: 100)])
    tiers.pool.tick(now: tiers.fixture.clock.now())
    tiers.tier.endWrites()
    #expect(tiers.isBelow(1))
  }

  @Test func whatIsNowhereIsNotFoundAndWhatIsNotKnownYetIsBusy() throws {
    let tiers = try TwoTiers()
    #expect(tiers.makeDurable(1).value == [.notFound(what: "object", number: 0)])
    tiers.tier.set { $0.isReady = false }
    #expect(tiers.makeDurable(1).value == [.busy(retryAfterMilliseconds: 100)])
  }

  @Test func closingWritesAllThatWaitsAndThenClosesTheTierOnce() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 1 })
    for number in 1...3 { try tiers.store(number) }
    let told = Told()
    tiers.pool.closeTier { told.tell() }
    tiers.tier.endWrite()
    tiers.tier.endWrite(.busy)
    #expect(told.number == 0 && tiers.tier.count("close") == 0)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    tiers.tier.endWrites()
    #expect(told.number == 1 && tiers.tier.count("close") == 1)
    #expect(tiers.tier.storedKeys.count == 3)
  }

  @Test func whileClosingNothingNewIsTakenAndRAMServesOn() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(9)
    let told = Told()
    tiers.pool.closeTier { told.tell() }
    #expect(told.number == 1)
    try tiers.store(1)
    #expect(tiers.lookup(1) == .filled(1) && tiers.tier.count("write") == 0)
    #expect(tiers.makeDurable(1).value == [.busy(retryAfterMilliseconds: 100)])
    #expect(tiers.fetch([9]).fetch == nil)
    #expect(tiers.pool.prefetch([tiers.key(9)], in: tiers.fixture.tenant) == (0, 0))
  }

  @Test func withoutATierClosingEndsAtOnce() throws {
    let fixture = try Fixture()
    let told = Told()
    fixture.pool.startTier()
    fixture.pool.closeTier { told.tell() }
    #expect(told.number == 1 && fixture.pool.isTierReady)
  }
}
