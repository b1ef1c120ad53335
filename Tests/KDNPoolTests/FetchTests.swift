import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

struct FetchTests {
  @Test func nothingIsFetchedWithoutASlowerTier() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    #expect(fixture.pool.fetch([fixture.key(1), fixture.key(2)], in: fixture.tenant) {} == nil)
  }

  @Test func nothingIsFetchedIfAllIsInRAMOrNowhere() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    #expect(tiers.fetch([1]).fetch == nil)
    #expect(tiers.fetch([1, 2]).fetch == nil)
    #expect(tiers.tier.count("read") == 0)
  }

  @Test func aHitInRAMNeverAsksTheTier() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    let before = tiers.tier.count("find")
    for _ in 0..<3 { #expect(tiers.lookup(1) == .filled(1)) }
    #expect(tiers.fetch([1]).fetch == nil)
    #expect(tiers.fixture.has(1))
    #expect(try tiers.fixture.match([1], lease: 5).ramChunks == 1)
    #expect(tiers.tier.count("find") == before)
  }

  @Test func whatIsReadIsWholeAndStaysInRAM() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(3)
    #expect(tiers.lookup(3) == .missed(.notReady))
    let (fetch, told) = tiers.fetch([3])
    #expect(fetch?.isDone == false && told.number == 0)
    #expect(tiers.take(3, from: fetch) == nil)
    tiers.tier.endRead()
    #expect(fetch?.isDone == true && told.number == 1)
    #expect(tiers.take(3, from: fetch) == .filled(3))
    #expect(tiers.take(3, from: fetch) == nil)
    #expect(tiers.lookup(3) == .filled(3))
    let picture = tiers.pool.statistics
    #expect(picture.diskHits == 1 && picture.hits == 1 && picture.stores == 0)
    #expect(picture.fetches.started == 1 && picture.fetches.promoted == 1)
    #expect(picture.fetches.readBytes == 32 << 10)
    #expect(picture.writeBehind.counts.written == 0 && tiers.tier.pendingWrites.isEmpty)
  }

  @Test func whoAsksTwiceForAKeyMayTakeItTwice() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(3)
    let (fetch, _) = tiers.fetch([3, 3])
    tiers.tier.endReads()
    #expect(tiers.tier.count("read") == 1)
    #expect(tiers.take(3, from: fetch) == .filled(3))
    #expect(tiers.take(3, from: fetch) == .filled(3))
    #expect(tiers.take(3, from: fetch) == nil)
  }

  @Test func aFetchKeepsWhatOfItWasInRAM() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    try tiers.store(1)
    tiers.putBelow(2)
    tiers.putBelow(3)
    let (fetch, _) = tiers.fetch([1, 2])
    tiers.tier.endReads()
    let (other, told) = tiers.fetch([3])
    #expect(told.number == 0 && tiers.take(3, from: other) == nil)
    #expect(tiers.take(1, from: fetch) == .filled(1))
    #expect(tiers.take(2, from: fetch) == .filled(2))
    #expect(tiers.pool.statistics.hits == 1 && tiers.pool.statistics.diskHits == 1)
  }

  @Test func whatNeitherTierHasIsNoConcernOfAFetch() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(2)
    let (fetch, _) = tiers.fetch([1, 2])
    tiers.tier.endReads()
    #expect(tiers.take(1, from: fetch) == nil)
    #expect(tiers.lookup(1) == .missed(.neverStored))
  }

  @Test(arguments: [MissCause.corrupt, .evicted, .purged])
  func aReadThatMissesTellsItsCause(cause: MissCause) throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let (fetch, told) = tiers.fetch([1])
    tiers.tier.endRead(.missed(cause))
    #expect(told.number == 1 && tiers.take(1, from: fetch) == .missed(cause))
    #expect(tiers.pool.statistics.misses[cause] == 1)
    #expect(tiers.fetches.failed[cause] == 1)
    #expect(tiers.fixture.arena.statistics.allocatedBytes == 0)
  }

  @Test func factsOfAnotherObjectAreNeverServed() throws {
    let tiers = try TwoTiers()
    for number in 1...3 { tiers.putBelow(number) }
    let (fetch, _) = tiers.fetch([1, 2, 3])
    let facts = ObjectFacts(
      namespace: tiers.fixture.tenant.name, generation: 0, key: tiers.key(9),
      byteCount: 32 << 10, checksum: Checksum(1), storedAtMilliseconds: 0)
    tiers.tier.endRead(.whole(facts))
    var short = facts
    short.key = tiers.key(2)
    short.byteCount = 5
    tiers.tier.endRead(.whole(short))
    var foreign = facts
    foreign.key = tiers.key(3)
    foreign.namespace = try NamespaceName("foreign")
    tiers.tier.endRead(.whole(foreign))
    for number in 1...3 {
      #expect(tiers.take(number, from: fetch) == .missed(.corrupt))
      #expect(!tiers.isInRAM(number))
    }
  }

  @Test func whatIsLeftOfATTLHoldsInRAM() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1, ttl: 1000)
    tiers.fixture.wallClock.set(milliseconds: 1_800_000_000_600)
    let (fetch, _) = tiers.fetch([1])
    tiers.tier.endRead()
    #expect(tiers.take(1, from: fetch) == .filled(1))
    tiers.fixture.clock.advance(milliseconds: 399)
    #expect(tiers.isInRAM(1))
    tiers.fixture.clock.advance(milliseconds: 1)
    #expect(!tiers.isInRAM(1))
  }

  @Test func aTTLThatEndedDuringTheReadIsAMiss() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1, ttl: 1000)
    let (fetch, _) = tiers.fetch([1])
    tiers.fixture.wallClock.set(milliseconds: 1_800_000_001_000)
    tiers.tier.endRead()
    #expect(tiers.take(1, from: fetch) == .missed(.expired))
    #expect(!tiers.isInRAM(1))
  }

  @Test func nothingIsEvictedBetweenCompletionAndAnswer() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    tiers.putBelow(1)
    tiers.putBelow(2)
    let (fetch, _) = tiers.fetch([1, 2])
    tiers.tier.endReads()
    guard case .busy = tiers.fixture.refusal({ try tiers.store(3) }) else {
      Issue.record("room was made of what a fetch holds")
      return
    }
    #expect(tiers.take(1, from: fetch) == .filled(1))
    try tiers.store(3)
    #expect(!tiers.isInRAM(1))
    #expect(tiers.take(2, from: fetch) == .filled(2))
  }

  @Test func aDroppedFetchLetsGoOfWhatItHeld() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    for number in 1...2 { tiers.putBelow(number) }
    do {
      let (fetch, _) = tiers.fetch([1, 2])
      tiers.tier.endReads()
      #expect(fetch?.isDone == true)
    }
    try tiers.store(3)
    try tiers.store(4)
    #expect(tiers.isInRAM(3) && tiers.isInRAM(4))
  }

  @Test func aCancelledFetchIsNotToldAndWhatItReadIsKept() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let (fetch, told) = tiers.fetch([1])
    fetch?.cancel()
    tiers.tier.endRead()
    #expect(told.number == 0 && tiers.take(1, from: fetch) == nil)
    #expect(tiers.lookup(1) == .filled(1))
    #expect(tiers.fetches.underWay == 0)
  }

  @Test func aTierThatAnswersAtOnceTellsBeforeTheCallReturns() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.reads = .atOnce } })
    for number in 1...4 { tiers.putBelow(number) }
    let (fetch, told) = tiers.fetch([1, 2, 3, 4])
    #expect(fetch?.isDone == true && told.number == 1)
    for number in 1...4 {
      #expect(tiers.take(number, from: fetch) == .filled(UInt8(number)))
    }
  }
}
