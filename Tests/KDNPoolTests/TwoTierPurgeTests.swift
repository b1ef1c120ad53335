import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

struct TwoTierPurgeTests {
  @Test func anObjectInBothTiersIsCountedOnce() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrites()
    try tiers.store(2)
    tiers.putBelow(3)
    let keys = [1, 2, 3, 4, 1].map(tiers.key)
    #expect(tiers.fixture.purge(.keys(keys)) == (3, 96 << 10))
    #expect(tiers.fixture.present(1...3).isEmpty && tiers.tier.storedKeys.isEmpty)
    #expect(tiers.lookup(1) == .missed(.purged) && tiers.lookup(3) == .missed(.purged))
  }

  @Test func theAnswerComesWhenNoCrashCanBringTheObjectsBack() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.holdsPurges = true } })
    try tiers.store(1)
    let answer = tiers.purge(.keys([tiers.key(1)]))
    #expect(answer.value == nil && !tiers.isInRAM(1))
    tiers.tier.endPurges()
    #expect(answer.value == .success(PurgeCount(objects: 1, bytes: 32 << 10)))
  }

  @Test(arguments: [
    (TierRefusal.failed, PoolRefusal.unavailable),
    (.busy, .busy(retryAfterMilliseconds: 100)), (.closing, .busy(retryAfterMilliseconds: 100)),
  ])
  func aPurgeThatTheTierCannotNoteIsRefused(refusal: TierRefusal, told: PoolRefusal) throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.purgeRefusal = refusal } })
    try tiers.store(1)
    #expect(tiers.purge(.keys([tiers.key(1)])).value == .failure(told))
    #expect(tiers.purge(.namespace).value == .failure(told))
    #expect(!tiers.isInRAM(1))
  }

  @Test func aPurgeOfTheNamespaceForgetsItsDocuments() throws {
    let tiers = try TwoTiers()
    let document = try Document(
      name: "a", layout: tiers.fixture.layout.id, tokenCount: 1, chunkTokens: 16,
      hashes: [tiers.fixture.hash(1)])
    _ = try tiers.pool.publish(document, in: tiers.fixture.tenant)
    tiers.putBelow(1)
    // Known below by its whole part alone, or not at all.
    #expect(tiers.fixture.facts(1).key.part == LayoutGeometry(tiers.fixture.layout).whole)
    #expect(tiers.pool.resolve(document: "a", in: tiers.fixture.tenant)?.presentChunks == 1)
    _ = tiers.purge(.namespace)
    #expect(tiers.pool.resolve(document: "a", in: tiers.fixture.tenant) == nil)
  }

  @Test func prefixesReachThroughChunksOfEitherTierInTurn() throws {
    let tiers = try TwoTiers()
    // 1 in RAM, 2 below, 3 in RAM, 4 below; 5 and 6 build on none of them.
    try tiers.store(1)
    tiers.putBelow(2, after: 1)
    try tiers.store(3, after: 2)
    tiers.putBelow(4, after: 3)
    try tiers.store(5)
    tiers.putBelow(6, after: 5)
    #expect(tiers.fixture.purge(.prefixes([tiers.fixture.hash(1)])) == (4, 128 << 10))
    #expect(tiers.fixture.present(1...6) == [5, 6])
  }

  @Test func layoutsGoFromBothTiersAndOpaqueObjectsStay() throws {
    let tiers = try TwoTiers()
    let opaque = ObjectKey(opaque: tiers.fixture.hash(50))
    try tiers.fixture.store(StoreFacts(key: opaque, byteCount: 10))
    try tiers.store(1)
    tiers.putBelow(2)
    #expect(tiers.fixture.purge(.layouts([tiers.fixture.layout.id])) == (2, 64 << 10))
    #expect(tiers.pool.contains(opaque, in: tiers.fixture.tenant))
  }

  @Test func aNamespaceGoesFromBothTiersAndCountsDistinctObjects() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrites()
    try tiers.store(2)
    tiers.putBelow(3)
    let (fetch, _) = tiers.fetch([3])
    tiers.tier.endReads()
    #expect(tiers.take(3, from: fetch) == .filled(3))
    tiers.putBelow(4)
    #expect(tiers.fixture.purge(.namespace) == (4, 128 << 10))
    #expect(tiers.tier.generation(of: tiers.fixture.tenant.name) == 1)
    #expect(tiers.fixture.present(1...4).isEmpty)
    #expect(tiers.lookup(2) == .missed(.purged))
    #expect(tiers.fixture.purge(.namespace) == (0, 0))
  }

  @Test(arguments: [PurgeScope.keys([]), .prefixes([]), .layouts([]), .namespace])
  func aReadOfWhatIsPurgedMeanwhileBringsNothingBack(scope: PurgeScope) throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    tiers.putBelow(2, after: 1)
    let facts = try #require(
      tiers.tier.state.withLock { state in
        state.stored.values.first { $0.facts.key == tiers.key(2) }?.facts
      })
    let (fetch, told) = tiers.fetch([2])
    switch scope {
    case .keys: tiers.fixture.purge(.keys([tiers.key(2)]))
    case .prefixes: tiers.fixture.purge(.prefixes([tiers.fixture.hash(1)]))
    case .layouts: tiers.fixture.purge(.layouts([tiers.fixture.layout.id]))
    case .namespace: tiers.fixture.purge(.namespace)
    }
    // The device had the bytes in hand already.
    tiers.tier.endRead(.whole(facts))
    #expect(told.number == 1 && tiers.take(2, from: fetch) == .missed(.purged))
    #expect(!tiers.isInRAM(2) && tiers.fixture.arena.statistics.allocatedBytes == 0)
  }

  @Test func aReadThatBeginsAndEndsWhileThePurgeIsOnItsWayBringsNothingBack() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.reads = .atOnce } })
    tiers.putBelow(1)
    let taken = Box<Taken?>(nil)
    // RAM has dropped it already, the tier has not.
    tiers.tier.set { state in
      state.onPurge = {
        let (fetch, _) = tiers.fetch([1])
        taken.set(tiers.take(1, from: fetch))
      }
    }
    tiers.fixture.purge(.keys([tiers.key(1)]))
    #expect(taken.value == .missed(.purged))
    #expect(!tiers.isInRAM(1) && !tiers.fixture.has(1))
  }

  @Test func aPurgeOfOtherKeysLeavesAReadAlone() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let (fetch, _) = tiers.fetch([1])
    tiers.fixture.purge(.keys([tiers.key(2)]))
    tiers.fixture.purge(.prefixes([tiers.fixture.hash(2)]))
    tiers.tier.endReads()
    #expect(tiers.take(1, from: fetch) == .filled(1))
  }

  @Test func whatIsStoredAfterAPurgeIsServedToAReadThatBeganBefore() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let (fetch, _) = tiers.fetch([1])
    tiers.fixture.purge(.keys([tiers.key(1)]))
    try tiers.store(1)
    tiers.tier.endRead(.missed(.purged))
    #expect(tiers.lookup(1) == .filled(1))
    #expect(tiers.take(1, from: fetch) == .filled(1))
  }

  @Test func whatIsReadStaysReadableThroughAPurge() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let (fetch, _) = tiers.fetch([1])
    tiers.tier.endReads()
    tiers.fixture.purge(.namespace)
    #expect(tiers.take(1, from: fetch) == .filled(1))
    #expect(!tiers.isInRAM(1))
  }

  @Test func aPurgeDuringAHandOverWaitsForItsEndAndThenReachesWhatWasHandedOver() throws {
    let tiers = try TwoTiers()
    let answer = Box<Result<PurgeCount, PoolRefusal>?>(nil)
    let order = Box<[String]>([])
    // The tier answers while it is being handed the object, and who waited purges from there.
    tiers.tier.set { $0.writes = .fault(.busy) }
    try tiers.store(1)
    tiers.tier.set { $0.writes = .atOnce }
    tiers.pool.makeDurable(tiers.key(1), in: tiers.fixture.tenant) { _ in
      tiers.pool.purge(.keys([tiers.key(1)]), in: tiers.fixture.tenant) { answer.set($0) }
      order.set(order.value + [answer.value == nil ? "waits" : "done"])
    }
    #expect(order.value == ["waits"])
    #expect(answer.value == .success(PurgeCount(objects: 1, bytes: 32 << 10)))
    #expect(!tiers.fixture.has(1) && tiers.tier.storedKeys.isEmpty)
  }

  @Test func anObjectPurgedBeforeItsUrgentWriteIsNeverHandedOver() throws {
    let tiers = try TwoTiers()
    let answers = Box<[PoolRefusal?]>([])
    try tiers.store(1)
    try tiers.store(2)
    tiers.tier.endWrite(.busy)
    tiers.tier.endWrite(.busy)
    tiers.tier.set { $0.writes = .atOnce }
    // During the hand-over of 1 both a purge of 2 and its durable write are asked for.
    tiers.pool.makeDurable(tiers.key(1), in: tiers.fixture.tenant) { _ in
      tiers.pool.makeDurable(tiers.key(2), in: tiers.fixture.tenant) {
        answers.set(answers.value + [$0])
      }
      tiers.pool.purge(.keys([tiers.key(2)]), in: tiers.fixture.tenant) { _ in }
    }
    #expect(answers.value == [.notFound(what: "object", number: 0)])
    #expect(tiers.tier.storedKeys == [tiers.key(1)] && tiers.writes.leasedBytes == 0)
  }
}
