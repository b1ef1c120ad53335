import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

/// Reads when room is scarce or the tier is busy; RAM of 64 KiB holds two objects.
struct FetchRoomTests {
  @Test func readsMakeRoomByThePolicy() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    try tiers.store(1)
    try tiers.store(2)
    tiers.tier.endWrites()
    tiers.putBelow(3)
    let (fetch, _) = tiers.fetch([3])
    tiers.tier.endRead()
    #expect(tiers.take(3, from: fetch) == .filled(3))
    #expect(tiers.isInRAM(3) && tiers.pool.statistics.evictions == 1)
  }

  @Test func whenNothingInRAMCanGoStagingMemoryServes() throws {
    let tiers = try TwoTiers(kibibytes: 64, stagingKibibytes: 64)
    try tiers.store(1)
    try tiers.store(2)
    tiers.pinAll(1...2)
    tiers.putBelow(3)
    let (fetch, _) = tiers.fetch([3])
    tiers.tier.endRead()
    #expect(tiers.fetches.staged == 1 && tiers.fetches.stagingBytes == 32 << 10)
    #expect(!tiers.isInRAM(3))
    #expect(tiers.take(3, from: fetch) == .filled(3))
    #expect(tiers.fetches.stagingBytes == 0)
    #expect(tiers.fixture.present(1...3) == [1, 2, 3])
  }

  @Test func whatWasStoredDuringAReadIntoStagingIsServedInstead() throws {
    let tiers = try TwoTiers(kibibytes: 64, stagingKibibytes: 64)
    try tiers.store(1)
    try tiers.store(2)
    tiers.pinAll(1...2)
    tiers.putBelow(3)
    let (fetch, _) = tiers.fetch([3])
    tiers.tier.endWrites()
    tiers.fixture.purge(.keys([tiers.key(1)]))
    tiers.tier.set { $0.stored = [:] }
    try tiers.store(3)
    tiers.putBelow(3)
    tiers.tier.endRead()
    #expect(tiers.take(3, from: fetch) == .filled(3))
    #expect(tiers.fetches.stagingBytes == 0 && tiers.fetches.underWay == 0)
  }

  @Test func whatAFetchItselfHoldsMakesTheRestOverCredit() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    for number in 1...3 { tiers.putBelow(number) }
    let (fetch, told) = tiers.fetch([1, 2, 3])
    #expect(tiers.tier.pendingReads == 2)
    tiers.tier.endReads()
    #expect(told.number == 1)
    #expect(tiers.take(1, from: fetch) == .filled(1))
    #expect(tiers.take(2, from: fetch) == .filled(2))
    #expect(tiers.take(3, from: fetch) == .missed(.overCredit))
  }

  @Test func roomThatAFailedReadGivesBackIsUsedByTheNext() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    for number in 1...3 { tiers.putBelow(number) }
    let (fetch, told) = tiers.fetch([1, 2, 3])
    tiers.tier.endRead(.missed(.corrupt))
    #expect(tiers.tier.pendingReads == 2 && told.number == 0)
    tiers.tier.endReads()
    #expect(tiers.take(1, from: fetch) == .missed(.corrupt))
    #expect(tiers.take(2, from: fetch) == .filled(2))
    #expect(tiers.take(3, from: fetch) == .filled(3))
  }

  @Test func withoutRoomAFetchWaitsForOthersButNotForEver() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    try tiers.store(1)
    try tiers.store(2)
    tiers.tier.endWrites()
    tiers.pinAll(1...2, milliseconds: 60_000)
    tiers.putBelow(3)
    let (fetch, told) = tiers.fetch([3])
    #expect(told.number == 0 && fetch?.isDone == false)
    tiers.fixture.clock.advance(milliseconds: 4_999)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(told.number == 0)
    tiers.fixture.clock.advance(milliseconds: 1)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(told.number == 1 && fetch?.isDone == true)
    #expect(tiers.take(3, from: fetch) == .missed(.notReady))
    #expect(tiers.tier.count("read") == 0)
  }

  @Test func aFetchThatWaitsForRoomReadsOnceOthersGiveItBack() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    try tiers.store(1)
    try tiers.store(2)
    tiers.tier.endWrites()
    tiers.pinAll(1...2)
    tiers.putBelow(3)
    let (fetch, told) = tiers.fetch([3])
    tiers.fixture.clock.advance(milliseconds: 1_001)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    tiers.tier.endRead()
    #expect(told.number == 1)
    #expect(tiers.take(3, from: fetch) == .filled(3))
  }

  @Test func anObjectLargerThanTheArenaEvictsNobody() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    try tiers.store(1)
    tiers.putBelow(9, tokens: 128)
    let (fetch, _) = tiers.fetch([9])
    #expect(tiers.take(9, from: fetch) == .missed(.notReady))
    #expect(tiers.isInRAM(1))
  }

  @Test func indexMemoryIsChargedForReadsAndMadeByEviction() throws {
    let tiers = try TwoTiers(adjust: {
      $0.memoryBytesMax -= 4 << 20
      $0.memoryBytesMax += 2 * $0.objectOverheadBytes
    })
    try tiers.store(1, tokens: 1)
    try tiers.store(2, tokens: 1)
    tiers.tier.endWrites()
    tiers.putBelow(3, tokens: 1)
    let (fetch, _) = tiers.fetch([3])
    tiers.tier.endReads()
    #expect(tiers.take(3, from: fetch) == .filled(3))
    #expect([1, 2].count { tiers.isInRAM($0) } == 1)
    #expect(tiers.pool.statistics.chargedBytes <= tiers.pool.statistics.memoryBytesMax)
  }

  @Test func aReadThatTheTierIsTooBusyForGetsItsTurnAfterAnother() throws {
    let tiers = try TwoTiers()
    for number in 1...3 { tiers.putBelow(number) }
    let (fetch, told) = tiers.fetch([1, 2, 3])
    tiers.tier.endRead(.busy)
    #expect(tiers.tier.pendingReads == 2 && tiers.fetches.busy == 1)
    tiers.tier.endRead()
    #expect(tiers.tier.pendingReads == 2)
    tiers.tier.endReads()
    #expect(told.number == 1 && tiers.tier.count("read") == 4)
    #expect(tiers.take(1, from: fetch) == .filled(1))
  }

  @Test func aReadThatTheTierIsTooBusyForIsTriedAgainAtTheNextTick() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.reads = .fault(.busy) } })
    tiers.putBelow(1)
    let (fetch, _) = tiers.fetch([1])
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(tiers.tier.count("read") == 2 && fetch?.isDone == false)
    tiers.tier.set { $0.reads = .atOnce }
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(tiers.take(1, from: fetch) == .filled(1))
  }

  @Test func aTierThatStaysBusyIsWaitedForOnlySoLong() throws {
    let tiers = try TwoTiers(
      prepare: { $0.set { $0.reads = .fault(.busy) } }, adjust: { $0.readStallMilliseconds = 50 })
    tiers.putBelow(1)
    let (fetch, told) = tiers.fetch([1])
    tiers.fixture.clock.advance(milliseconds: 49)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(told.number == 0)
    tiers.fixture.clock.advance(milliseconds: 1)
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(told.number == 1 && tiers.take(1, from: fetch) == .missed(.notReady))
    #expect(tiers.fixture.arena.statistics.allocatedBytes == 0)
  }

  @Test func aBusyReadThatNobodyWantsAnyMoreIsGivenUp() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.reads = .fault(.busy) } })
    tiers.putBelow(1)
    let (fetch, _) = tiers.fetch([1])
    fetch?.cancel()
    tiers.pool.tick(now: tiers.fixture.clock.now())
    #expect(tiers.tier.count("read") == 1 && tiers.fetches.underWay == 0)
    #expect(tiers.fixture.arena.statistics.allocatedBytes == 0)
  }

  @Test func prefetchPromotesWithinItsBoundAndTellsNobody() throws {
    let tiers = try TwoTiers(adjust: { $0.prefetchesMax = 2 })
    try tiers.store(1)
    for number in 2...4 { tiers.putBelow(number) }
    let keys = (1...5).map(tiers.key)
    #expect(tiers.pool.prefetch(keys, in: tiers.fixture.tenant) == (1, 2))
    #expect(tiers.pool.prefetch(keys, in: tiers.fixture.tenant) == (1, 0))
    let (fetch, _) = tiers.fetch([2])
    #expect(tiers.tier.pendingReads == 2 && tiers.fetches.joined > 0)
    tiers.tier.endReads()
    #expect(tiers.take(2, from: fetch) == .filled(2))
    #expect(tiers.isInRAM(3) && !tiers.isInRAM(4))
    #expect(tiers.pool.prefetch(keys, in: tiers.fixture.tenant) == (3, 1))
    #expect(tiers.fetches.prefetched == 3)
  }

  @Test func prefetchUsesNoStagingMemory() throws {
    let tiers = try TwoTiers(kibibytes: 64, stagingKibibytes: 64)
    try tiers.store(1)
    try tiers.store(2)
    tiers.pinAll(1...2)
    tiers.putBelow(3)
    #expect(tiers.pool.prefetch([tiers.key(3)], in: tiers.fixture.tenant) == (0, 0))
    #expect(tiers.fetches.underWay == 0)
  }
}
