import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

struct TwoTierTests {
  @Test func whatTheTierHoldsIsPresentToAStore() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let before = tiers.pool.statistics.chargedBytes
    guard case .present(let checksum) = try tiers.store(1) else {
      Issue.record("stored again")
      return
    }
    #expect(checksum == TwoTiers.checksum(1))
    #expect(tiers.pool.statistics.chargedBytes == before && !tiers.isInRAM(1))
  }

  @Test func otherBytesThanTheTierHoldsAreAConflict() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    let conflict = PoolRefusal.conflict(found: TwoTiers.checksum(1), given: Checksum(8))
    let facts = tiers.fixture.facts(1)
    #expect(tiers.fixture.refusal { try tiers.fixture.store(facts, checksum: 8) } == conflict)
    #expect(tiers.pool.statistics.conflicts == 1)
  }

  @Test func bytesThatTheTierGotDuringAStoreAreComparedWhenItIsPublished() throws {
    let tiers = try TwoTiers()
    for (number, checksum) in [(1, TwoTiers.checksum(1)), (2, Checksum(8))] {
      let facts = tiers.fixture.facts(number)
      guard
        case .reserved(let reservation) = try tiers.pool.reserve(facts, in: tiers.fixture.tenant)
      else {
        Issue.record("not reserved")
        return
      }
      tiers.putBelow(number)
      let answer = try? tiers.pool.publish(
        reservation, facts, checksum: checksum, in: tiers.fixture.tenant)
      #expect((answer != nil) == (number == 1))
      #expect(tiers.isInRAM(number) == (number == 1))
    }
    #expect(tiers.pool.statistics.conflicts == 1 && tiers.tier.count("write") == 0)
  }

  @Test func whatIsGoneSinceReserveIsNotConfirmed() throws {
    let tiers = try TwoTiers()
    #expect(
      tiers.fixture.refusal {
        _ = try tiers.pool.confirm(
          tiers.fixture.facts(1), checksum: Checksum(1), in: tiers.fixture.tenant)
      } == .notFound(what: "object", number: 0))
  }

  @Test func aTierThatDoesNotKnowYetCountsAsAbsentForStoresAndAsNotReadyForReads() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    tiers.tier.set { $0.isReady = false }
    #expect(!tiers.fixture.has(1) && !tiers.pool.isTierReady)
    #expect(tiers.lookup(1) == .missed(.notReady) && tiers.lookup(2) == .missed(.notReady))
    #expect(try tiers.fixture.match([1]).missCause == .notReady)
    #expect(tiers.fetch([1]).fetch == nil)
    guard case .published = try tiers.store(1) else {
      Issue.record("not stored")
      return
    }
  }

  @Test func missesTellTheCauseThatTheTierKnows() throws {
    let tiers = try TwoTiers()
    let name = ScriptedTier.Name(namespace: tiers.fixture.tenant.name, key: tiers.key(1))
    tiers.tier.set { $0.causes[name] = .corrupt }
    #expect(tiers.lookup(1) == .missed(.corrupt) && tiers.lookup(2) == .missed(.neverStored))
    #expect(try tiers.fixture.match([1]).missCause == .corrupt)
    #expect(tiers.pool.statistics.misses[.corrupt] == 1)
    try tiers.store(1, ttl: 5)
    tiers.fixture.clock.advance(milliseconds: 5)
    #expect(tiers.lookup(1) == .missed(.expired))
  }

  @Test func bothTiersAnswerExistsAndTouch() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.putBelow(2)
    #expect(tiers.fixture.present(1...3) == [1, 2])
    #expect(tiers.pool.touch((1...3).map(tiers.key), in: tiers.fixture.tenant) == 2)
    #expect(tiers.tier.count("touch") == 1)
  }

  @Test func nobodyWaitsForWhatTheTierHolds() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    #expect(try tiers.pool.wait(for: tiers.key(1), in: tiers.fixture.tenant) {} == nil)
    #expect(tiers.pool.statistics.waiters == 0)
  }

  @Test func whoWaitsIsToldWhenTheTierTurnsOutToHoldTheObject() throws {
    let tiers = try TwoTiers()
    tiers.putBelow(1)
    tiers.tier.set { $0.isReady = false }
    let told = Told()
    for number in 1...2 {
      _ = try tiers.pool.wait(for: tiers.key(number), in: tiers.fixture.tenant) { told.tell() }
    }
    #expect(!tiers.pool.sweep(now: tiers.fixture.clock.now()))
    #expect(told.number == 0)
    tiers.tier.set { $0.isReady = true }
    #expect(!tiers.pool.sweep(now: tiers.fixture.clock.now()))
    #expect(told.number == 1 && tiers.pool.statistics.waiters == 1)
  }

  @Test func aChunkCountsForTheSlowestTierOfItsParts() throws {
    let tiers = try TwoTiers()
    for number in 1...2 { try tiers.store(number) }
    tiers.putBelow(3)
    try tiers.store(4)
    let answer = try tiers.fixture.match([1, 2, 3, 4, 5])
    #expect(
      answer
        == MatchAnswer(
          matchedChunks: 4, ramChunks: 3, diskChunks: 1, missCause: .neverStored,
          matchedBytes: 128 << 10, diskBytes: 32 << 10))
  }

  @Test func aChunkWithPartsInBothTiersIsADiskChunk() throws {
    let tiers = try TwoTiers()
    let other = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    try tiers.store(1)
    tiers.putBelow(2)
    // The same part asked for twice stands for two parts in two tiers.
    let query = MatchQuery(
      layout: tiers.fixture.layout.id, parts: [tiers.fixture.part, other],
      hashes: [1, 2].map(tiers.fixture.hash))
    let answer = try tiers.pool.match(
      query, in: tiers.fixture.tenant, owner: OwnerID(number: 1))
    #expect(answer.ramChunks == 1 && answer.diskChunks == 1 && answer.matchedBytes == 128 << 10)
  }

  @Test func aLeaseHoldsWhatIsOnlyBelowUntilItsEnd() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.putBelow(2)
    let answer = try tiers.fixture.match([1, 2], lease: 500)
    #expect(answer.matchedChunks == 2 && answer.leaseMilliseconds == 500)
    let holds = tiers.tier.state.withLock { $0.holds }
    let end = tiers.fixture.clock.now().advanced(milliseconds: 500)
    #expect(holds.map(\.key.key) == [tiers.key(2)] && holds.first?.value == end)
    let below = try tiers.fixture.match([2], lease: 0)
    #expect(below.leaseNumber > 0 && below.leaseMilliseconds == 10_000)
    #expect(tiers.pool.statistics.leases == 2)
    _ = try tiers.fixture.match([2])
    #expect(tiers.pool.statistics.leases == 2)
  }

  @Test func aChunkThatMissesInOnePartKeepsNoLeaseOnTheOthers() throws {
    let tiers = try TwoTiers(kibibytes: 64)
    try tiers.store(1)
    tiers.tier.endWrites()
    let missing = Part(firstLayer: 0, layerCount: 2, firstKVHead: 0, kvHeadCount: 1)
    let query = MatchQuery(
      layout: tiers.fixture.layout.id, parts: [tiers.fixture.part, missing],
      hashes: [tiers.fixture.hash(1)], leaseMilliseconds: 1000)
    let answer = try tiers.pool.match(
      query, in: tiers.fixture.tenant, owner: OwnerID(number: 1))
    #expect(answer.matchedChunks == 0 && answer.leaseNumber == 0 && answer.matchedBytes == 0)
    try tiers.store(2)
    tiers.tier.endWrites()
    try tiers.store(3)
    #expect(!tiers.isInRAM(1))
  }

  @Test func pinsReachBothTiers() throws {
    let tiers = try TwoTiers()
    try tiers.store(1)
    tiers.tier.endWrites()
    tiers.putBelow(2)
    let keys = (1...3).map(tiers.key)
    let pinned = try tiers.pool.pin(keys, ttlMilliseconds: 700, in: tiers.fixture.tenant)
    #expect(pinned == [true, true, false])
    #expect(tiers.tier.pin(of: keys[0]) == 700 && tiers.tier.pin(of: keys[1]) == 700)
    #expect(tiers.pool.unpin(keys, in: tiers.fixture.tenant) == [true, true, false])
    #expect(tiers.tier.pin(of: keys[0]) == nil && tiers.tier.pin(of: keys[1]) == nil)
    #expect(tiers.pool.unpin(keys, in: tiers.fixture.tenant) == [false, false, false])
  }

  @Test func aNamespaceBeginsWithTheGenerationAndLayoutsOfTheRunBefore() throws {
    let name = try NamespaceName("earlier")
    let layout = try Layout(
      elementType: .i8, groups: [LayoutGroup(kind: .opaque(bytesPerToken: 8), layers: [0])])
    let tiers = try TwoTiers(prepare: { tier in
      tier.set { state in
        state.generations[name] = 41
        state.layouts[name] = [layout]
      }
    })
    tiers.pool.startTier()
    let namespace = try tiers.pool.namespace(name)
    #expect(namespace.generation == 41 && tiers.tier.count("start") == 1)
    #expect(tiers.pool.geometry(of: layout.id, in: namespace) != nil)
    #expect(try tiers.pool.register(layout, in: namespace) == layout.id)
    #expect(tiers.tier.layouts(of: name).count == 1)
    #expect(tiers.tier.layouts(of: tiers.fixture.tenant.name) == [tiers.fixture.layout])
  }

  @Test func stagingAndQueueAreChargedToTheCap() throws {
    let tiers = try TwoTiers(stagingKibibytes: 64)
    let picture = tiers.pool.statistics
    let configuration = tiers.pool.configuration
    let fixed = configuration.fixedBytes + configuration.writeQueueBytes
    #expect(picture.chargedBytes == (256 + 64) << 10 + fixed)
    #expect(picture.indexBytes == fixed)
    let plan = try PoolConfiguration.plan(
      memoryBytesMax: 64 << 20, slabBytes: 1 << 20, stagingBytes: 8 << 20)
    #expect(plan.arenaBytes + plan.overheadBytes == 64 << 20)
    #expect(plan.overheadBytes >= 8 << 20 + fixed)
  }
}
