import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

struct WriteBehindTests {
  @Test func whatIsPublishedIsVisibleAtOnceAndThenWritten() throws {
    let tiers = try TwoTiers()
    try tiers.store(1, after: 0, ttl: 500)
    #expect(tiers.isInRAM(1))
    #expect(tiers.tier.pendingWrites == [tiers.key(1)])
    #expect(tiers.writes.leasedObjects == 1 && tiers.writes.leasedBytes == 32 << 10)
    tiers.tier.endWrite()
    #expect(tiers.writes.counts.written == 1 && tiers.writes.counts.writtenBytes == 32 << 10)
    #expect(tiers.writes.leasedObjects == 0 && tiers.writes.leasedBytes == 0)
    let facts = try #require(tiers.tier.state.withLock { $0.stored.values.first?.facts })
    #expect(facts.key == tiers.key(1) && facts.parent == tiers.fixture.hash(0))
    #expect(facts.namespace == tiers.fixture.tenant.name && facts.generation == 0)
    #expect(facts.checksum == TwoTiers.checksum(1) && facts.byteCount == 32 << 10)
    #expect(facts.firstToken == 64 && facts.tokenCount == 32 && facts.ttlMilliseconds == 500)
    #expect(facts.storedAtMilliseconds == tiers.fixture.wallClock.milliseconds())
  }

  @Test func whatTheTierHoldsIsNotWrittenAgain() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrites()
    _ = tiers.lookup(1)
    _ = tiers.lookup(1)
    tiers.pinAll([1])
    try tiers.store(1)
    #expect(tiers.tier.count("write") == 1)
  }

  @Test func onlySoManyBytesAreLeasedAndTheRestWaitsInOrder() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 64 << 10 })
    for number in 1...5 { try tiers.store(number) }
    #expect(tiers.tier.pendingWrites == [1, 2].map(tiers.key))
    #expect(tiers.writes.waitingObjects == 3 && tiers.writes.waitingBytes == 96 << 10)
    #expect(tiers.writes.leasedBytes == 64 << 10)
    tiers.tier.endWrite()
    #expect(tiers.tier.pendingWrites == [2, 3].map(tiers.key))
    tiers.tier.endWrites()
    #expect(tiers.writes.counts.written == 5 && tiers.writes.waitingObjects == 0)
  }

  @Test func anObjectAboveTheBoundIsWrittenAlone() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 1 << 10 })
    try tiers.store(1)
    try tiers.store(2)
    #expect(tiers.tier.pendingWrites == [tiers.key(1)])
    tiers.tier.endWrite()
    #expect(tiers.tier.pendingWrites == [tiers.key(2)])
  }

  @Test func waitingDoesNotKeepAnObjectFromEvictionAndTheLossIsCounted() throws {
    let tiers = try TwoTiers(kibibytes: 64, adjust: { $0.writeBehindBytesMax = 32 << 10 })
    try tiers.store(1)
    try tiers.store(2)
    try tiers.store(3)
    #expect(!tiers.isInRAM(2) && tiers.isInRAM(1) && tiers.isInRAM(3))
    #expect(tiers.writes.counts.unwrittenEvictions == 1)
    #expect(tiers.writes.waitingObjects == 1)
    tiers.tier.endWrites()
    #expect(tiers.tier.storedKeys == [tiers.key(1), tiers.key(3)])
    #expect(tiers.lookup(2) == .missed(.evicted))
  }

  @Test func whatTheTierIsWritingIsNotEvicted() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    try tiers.store(1)
    try tiers.store(2)
    guard case .busy = tiers.fixture.refusal({ try tiers.store(3) }) else {
      Issue.record("evicted while being written")
      return
    }
    tiers.tier.endWrite()
    try tiers.store(3)
    #expect(!tiers.isInRAM(1) && tiers.writes.counts.unwrittenEvictions == 0)
  }

  @Test func aBusyTierIsAskedAgainInOrderAtTheNextTick() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.writes = .fault(.busy) } })
    for number in 1...3 { try tiers.store(number) }
    // Once is enough until something changes.
    #expect(tiers.tier.count("write") == 1)
    #expect(tiers.writes.waitingObjects == 3 && tiers.writes.counts.busy == 1)
    tiers.tier.set { $0.writes = .byHand }
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(tiers.tier.pendingWrites == [1, 2, 3].map(tiers.key))
  }

  @Test func aBusyTierIsAskedAgainAfterACompletion() throws {
    let tiers = try TwoTiers()
    for number in 1...3 { try tiers.store(number) }
    tiers.tier.endWrite(.busy)
    #expect(tiers.tier.pendingWrites == [2, 3].map(tiers.key))
    tiers.tier.endWrite()
    #expect(tiers.tier.pendingWrites == [3, 1].map(tiers.key))
    tiers.tier.endWrites()
    #expect(tiers.writes.counts.written == 3)
  }

  @Test(arguments: [TierRefusal.notAdmitted, .failed, .tooLarge(limit: 5), .gone, .closing])
  func whatTheTierRefusesForGoodIsDroppedAndCounted(refusal: TierRefusal) throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    try tiers.store(2)
    tiers.tier.endWrite(refusal)
    tiers.tier.endWrite()
    let counts = tiers.writes.counts
    let refused =
      counts.notAdmitted + counts.failed + counts.tooLarge + counts.gone + counts.closing
    #expect(refused == 1 && counts.written == 1 && tiers.writes.leasedBytes == 0)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(tiers.tier.count("write") == 2 && tiers.isInRAM(1))
  }

  @Test func aDeclinedObjectIsWrittenAtItsSecondUse() throws {
    let tiers = try TwoTiers(admission: SecondHit())
    for number in 1...3 { try tiers.store(number) }
    #expect(tiers.tier.pendingWrites.isEmpty && tiers.writes.counts.declined == 3)
    #expect(tiers.lookup(2) == .filled(2))
    #expect(tiers.tier.pendingWrites == [tiers.key(2)])
    _ = tiers.pool.touch([tiers.key(3)], in: tiers.fixture.tenant)
    #expect(tiers.tier.pendingWrites == [2, 3].map(tiers.key))
    for _ in 0..<3 { _ = tiers.lookup(2) }
    #expect(tiers.tier.count("write") == 2)
  }

  @Test func onlyPinsAreWrittenIfOnlyTheWantedAre() throws {
    let tiers = try TwoTiers(admission: OnlyWanted())
    try tiers.store(1)
    try tiers.store(2)
    for _ in 0..<3 { _ = tiers.lookup(1) }
    #expect(tiers.tier.count("write") == 0)
    tiers.pinAll([1])
    #expect(tiers.tier.pendingWrites == [tiers.key(1)])
  }

  @Test func aPinIsPassedOnWithTheTimeLeftOnceTheObjectIsWritten() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.pinAll([1], milliseconds: 900)
    tiers.fixture.clock.advance(milliseconds: 300)
    #expect(tiers.tier.pin(of: tiers.key(1)) == nil)
    tiers.tier.endWrite()
    #expect(tiers.tier.pin(of: tiers.key(1)) == 600)
  }

  @Test func aPinOfWhatTheTierRefusedTriesAgain() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrite(.notAdmitted)
    tiers.pinAll([1])
    tiers.tier.endWrites()
    #expect(tiers.isBelow(1) && tiers.tier.pin(of: tiers.key(1)) == 1000)
  }

  @Test func aFullQueueTakesNoMoreUntilItsDeadAreSweptOut() throws {
    // 128 KiB hold eight objects of 16; the first is being written, four wait.
    let tiers = try TwoTiers(
      kibibytes: 128,
      adjust: {
        $0.writeBehindObjectsMax = 4
        $0.writeBehindBytesMax = 1
      })
    for number in 1...8 { try tiers.store(number, tokens: 16) }
    #expect(tiers.writes.counts.overflows == 3 && tiers.writes.waitingObjects == 4)
    // All but two of the waiting; the pins offer the three that overflowed, in vain.
    tiers.pinAll([1, 4, 5, 6, 7, 8])
    #expect(tiers.writes.counts.overflows == 6)
    try tiers.store(9, tokens: 16)
    #expect(tiers.writes.counts.unwrittenEvictions == 1 && tiers.writes.counts.overflows == 7)
    try tiers.store(10, tokens: 16)
    #expect(tiers.writes.counts.unwrittenEvictions == 2 && tiers.writes.waitingObjects == 3)
    #expect(tiers.lookup(6) == .filled(6))
    #expect(tiers.writes.counts.overflows == 7 && tiers.writes.waitingObjects == 4)
    tiers.tier.endWrites()
    #expect(tiers.tier.storedKeys == Set([1, 4, 5, 10, 6].map(tiers.key)))
    #expect(tiers.writes.leasedBytes == 0 && tiers.writes.waitingBytes == 0)
  }

  @Test func aPurgedOrExpiredObjectIsNotWrittenWhenItsTurnComes() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 1 })
    try tiers.store(1)
    try tiers.store(2)
    try tiers.store(3, ttl: 10)
    try tiers.store(4)
    tiers.fixture.purge(.keys([tiers.key(2)]))
    tiers.fixture.clock.advance(milliseconds: 10)
    tiers.tier.endWrites()
    #expect(tiers.tier.storedKeys == [tiers.key(1), tiers.key(4)])
    #expect(tiers.writes.counts.unwrittenEvictions == 0)
    #expect(tiers.writes.leasedBytes == 0 && tiers.writes.waitingBytes == 0)
  }

  @Test func anObjectStoredAnewWhileTheOldOneWaitsIsWrittenOnce() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 1 })
    try tiers.store(1)
    try tiers.store(2)
    tiers.fixture.purge(.keys([tiers.key(2)]))
    try tiers.store(2)
    tiers.tier.endWrites()
    #expect(tiers.tier.count("write") == 2 && tiers.isBelow(2))
  }

  @Test func theDaysBudgetLimitsWhatIsWrittenUnasked() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBytesPerDay = 64 << 10 })
    for number in 1...5 { try tiers.store(number) }
    #expect(tiers.tier.pendingWrites == [1, 2].map(tiers.key))
    #expect(tiers.writes.counts.overBudget == 3)
    // What is asked for is written all the same.
    tiers.pinAll([3])
    let answer = tiers.makeDurable(4)
    tiers.tier.endWrites()
    #expect(answer.value == [nil] && tiers.tier.storedKeys == Set((1...4).map(tiers.key)))
    tiers.fixture.clock.advance(milliseconds: 12 * 3_600_000)
    try tiers.store(6)
    tiers.tier.endWrites()
    #expect(tiers.isBelow(6) && tiers.writes.counts.overBudget == 3)
  }

  @Test func aBusyTierCostsTheBudgetOnlyOnce() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBytesPerDay = 32 << 10 })
    try tiers.store(1)
    tiers.tier.endWrite(.busy)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    tiers.tier.endWrites()
    #expect(tiers.isBelow(1) && tiers.writes.counts.overBudget == 0)
  }
}
