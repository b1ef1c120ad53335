import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

typealias Replacing = Box<[Result<ReplaceAnswer, PoolRefusal>]>

extension TwoTiers {
  /// Stores bytes that are all `fill` under a numbered key, in the place of what is there.
  func replace(
    _ number: Int, fill: UInt8, ttl: UInt64 = 0, condition: ReplaceCondition = .always
  ) throws -> Replacing {
    try fixture.replace(opaque(number), fill: fill, ttl: ttl, condition: condition)
  }

  func opaque(_ number: Int) -> ObjectKey { ObjectKey(opaque: fixture.hash(number)) }

  func look(_ number: Int) -> Taken { Taken(pool.lookup(opaque(number), in: fixture.tenant)) }

  /// Puts an opaque object into the slower tier only.
  func putOpaqueBelow(_ number: Int, fill: UInt8, ttl: UInt64 = 0) {
    tier.put(
      ObjectFacts(
        namespace: fixture.tenant.name, generation: 0, key: opaque(number), byteCount: 32 << 10,
        checksum: Self.checksum(Int(fill)),
        storedAtMilliseconds: fixture.wallClock.milliseconds(), ttlMilliseconds: ttl),
      fill: fill)
  }

  func isOpaqueBelow(_ number: Int) -> Bool { tier.storedKeys.contains(opaque(number)) }

  /// What the slower tier has under a key: its fill.
  func below(_ number: Int) -> UInt8? {
    let name = ScriptedTier.Name(namespace: fixture.tenant.name, key: opaque(number))
    return tier.state.withLock { $0.stored[name]?.bytes.first }
  }
}

extension Fixture {
  func replace(
    _ key: ObjectKey, fill: UInt8, ttl: UInt64 = 0, condition: ReplaceCondition = .always
  ) throws -> Replacing {
    let facts = StoreFacts(key: key, byteCount: 32 << 10, ttlMilliseconds: ttl)
    let answers = Replacing([])
    let reservation = try pool.reserveReplacing(facts, in: tenant)
    reservation.memory.base.initializeMemory(
      as: UInt8.self, repeating: fill, count: reservation.byteCount)
    pool.replace(
      reservation, facts, checksum: TwoTiers.checksum(Int(fill)), in: tenant,
      condition: condition
    ) { answer in answers.change { $0.append(answer) } }
    return answers
  }
}

@Suite("A store that replaces")
struct ReplaceTests {
  // MARK: RAM alone

  @Test("makes the new bytes visible at once and leaves readers of the old ones alone")
  func replacesInRAM() throws {
    let fixture = try Fixture()
    let key = ObjectKey(opaque: fixture.hash(1))
    #expect(try fixture.replace(key, fill: 1).value == [.success(.stored)])
    guard case .hit(let old) = fixture.pool.lookup(key, in: fixture.tenant) else {
      Issue.record("not stored")
      return
    }
    #expect(try fixture.replace(key, fill: 2).value == [.success(.stored)])
    #expect(Taken(fixture.pool.lookup(key, in: fixture.tenant)) == .filled(2))
    #expect(UnsafeRawBufferPointer(start: old.lease.base, count: 8).allSatisfy { $0 == 1 })
    #expect(fixture.pool.statistics.objects == 1 && fixture.pool.statistics.expired == 0)
  }

  @Test("of the same bytes without a TTL changes nothing")
  func sameBytes() throws {
    let fixture = try Fixture()
    let key = ObjectKey(opaque: fixture.hash(1))
    _ = try fixture.replace(key, fill: 1)
    #expect(try fixture.replace(key, fill: 1).value == [.success(.present)])
    #expect(try fixture.replace(key, fill: 1, ttl: 50).value == [.success(.stored)])
    #expect(fixture.pool.timeToLive(of: key, in: fixture.tenant) == .milliseconds(50))
    #expect(try fixture.replace(key, fill: 1).value == [.success(.stored)])
    #expect(fixture.pool.timeToLive(of: key, in: fixture.tenant) == .endless)
    #expect(fixture.arena.statistics.allocatedBytes == 32 << 10)
  }

  @Test("may depend on whether the key is there")
  func conditions() throws {
    let fixture = try Fixture()
    let key = ObjectKey(opaque: fixture.hash(1))
    #expect(
      try fixture.replace(key, fill: 1, condition: .ifPresent).value == [.success(.unchanged)])
    #expect(try fixture.replace(key, fill: 1, condition: .ifAbsent).value == [.success(.stored)])
    #expect(try fixture.replace(key, fill: 2, condition: .ifAbsent).value == [.success(.unchanged)])
    #expect(try fixture.replace(key, fill: 3, condition: .ifPresent).value == [.success(.stored)])
    #expect(Taken(fixture.pool.lookup(key, in: fixture.tenant)) == .filled(3))
  }

  @Test("ends pins and gives all memory back when it is purged")
  func endsPins() throws {
    let fixture = try Fixture()
    let key = ObjectKey(opaque: fixture.hash(1))
    _ = try fixture.replace(key, fill: 1)
    #expect(try fixture.pool.pin([key], ttlMilliseconds: 1000, in: fixture.tenant) == [true])
    _ = try fixture.replace(key, fill: 2)
    #expect(fixture.pool.statistics.pins == 0)
    fixture.purge(.keys([key]))
    #expect(fixture.arena.statistics.allocatedBytes == 0)
  }

  @Test("that a purge of the namespace overtakes is refused and brings nothing back")
  func overtakenByPurge() throws {
    let fixture = try Fixture()
    let facts = StoreFacts(key: ObjectKey(opaque: fixture.hash(1)), byteCount: 10)
    let reservation = try fixture.pool.reserveReplacing(facts, in: fixture.tenant)
    fixture.purge(.namespace)
    let answers = Replacing([])
    fixture.pool.replace(
      reservation, facts, checksum: Checksum(1), in: fixture.tenant, condition: .always
    ) { answer in answers.change { $0.append(answer) } }
    #expect(answers.value == [.failure(.notFound(what: "generation", number: 0))])
    #expect(fixture.arena.statistics.allocatedBytes == 0)
  }

  @Test("with another TTL keeps the bytes where they are")
  func timesToLive() throws {
    let fixture = try Fixture()
    let key = ObjectKey(opaque: fixture.hash(1))
    _ = try fixture.replace(key, fill: 1)
    let answers = Replacing([])
    fixture.pool.setTTL(20, of: key, in: fixture.tenant) { answer in
      answers.change { $0.append(answer) }
    }
    #expect(answers.value == [.success(.stored)])
    #expect(Taken(fixture.pool.lookup(key, in: fixture.tenant)) == .filled(1))
    #expect(fixture.arena.statistics.allocatedBytes == 32 << 10)
    fixture.clock.advance(milliseconds: 20)
    #expect(fixture.pool.timeToLive(of: key, in: fixture.tenant) == .absent)
    fixture.pool.setTTL(20, of: key, in: fixture.tenant) { answer in
      answers.change { $0.append(answer) }
    }
    #expect(answers.value.last == .success(.unchanged))
    while fixture.pool.sweep(now: fixture.clock.now()) {}
    #expect(fixture.arena.statistics.allocatedBytes == 0)
  }

  // MARK: Two tiers

  @Test("of a key that no tier ever had needs no purge")
  func fresh() throws {
    let tiers = try TwoTiers()
    #expect(try tiers.replace(1, fill: 1).value == [.success(.stored)])
    #expect(tiers.tier.count("purge") == 0 && tiers.look(1) == .filled(1))
    tiers.tier.endWrites()
    #expect(tiers.below(1) == 1)
  }

  @Test("is visible and answered only once no crash brings the old record back")
  func waitsForThePurge() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.holdsPurges = true } })
    _ = try tiers.replace(1, fill: 1)
    tiers.tier.endWrites()
    let answers = try tiers.replace(1, fill: 2)
    #expect(answers.value.isEmpty && tiers.look(1) == .filled(1), "the old one is there till then")
    #expect(!tiers.isOpaqueBelow(1))
    tiers.tier.endPurges()
    #expect(answers.value == [.success(.stored)] && tiers.look(1) == .filled(2))
    tiers.tier.endWrites()
    #expect(tiers.below(1) == 2)
  }

  @Test("of what only the slower tier has leaves no old bytes there")
  func replacesBelow() throws {
    let tiers = try TwoTiers()
    tiers.putOpaqueBelow(1, fill: 1)
    #expect(try tiers.replace(1, fill: 2).value == [.success(.stored)])
    #expect(tiers.below(1) == nil)
    tiers.tier.endWrites()
    #expect(tiers.below(1) == 2 && tiers.look(1) == .filled(2))
  }

  @Test("of the bytes that the slower tier has brings them to RAM and writes nothing")
  func sameBytesBelow() throws {
    let tiers = try TwoTiers()
    tiers.putOpaqueBelow(1, fill: 1)
    #expect(try tiers.replace(1, fill: 1).value == [.success(.stored)])
    #expect(tiers.look(1) == .filled(1) && tiers.tier.count("purge") == 0)
    #expect(tiers.tier.count("write") == 0)
  }

  @Test("of a key whose dropped record a start could find purges that first")
  func shadows() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.holdsPurges = true } })
    let name = ScriptedTier.Name(namespace: tiers.fixture.tenant.name, key: tiers.opaque(1))
    tiers.tier.set { $0.shadows.insert(name) }
    let answers = try tiers.replace(1, fill: 2)
    #expect(answers.value.isEmpty && tiers.tier.count("purge") == 1)
    tiers.tier.endPurges()
    #expect(answers.value == [.success(.stored)])
  }

  @Test("while the old object is being written has that write given up, and its own done")
  func whileTheOldIsWritten() throws {
    let tiers = try TwoTiers()
    _ = try tiers.replace(1, fill: 1)
    // The tier has the old bytes in hand and has not written them.
    #expect(try tiers.replace(1, fill: 2).value == [.success(.stored)])
    tiers.tier.endWrites()
    #expect(tiers.below(1) == 2 && tiers.look(1) == .filled(2))
  }

  @Test("while the old object waits to be written never lets it get there")
  func whileTheOldWaits() throws {
    let tiers = try TwoTiers(adjust: { $0.writeBehindBytesMax = 32 << 10 })
    _ = try tiers.replace(2, fill: 9)
    _ = try tiers.replace(1, fill: 1)
    #expect(tiers.tier.count("write") == 1, "the second one waits for the first")
    _ = try tiers.replace(1, fill: 2)
    tiers.tier.endWrites()
    tiers.tier.endWrites()
    #expect(tiers.below(1) == 2 && tiers.look(1) == .filled(2))
    #expect(tiers.writes.leasedBytes == 0 && tiers.writes.waitingObjects == 0)
  }

  @Test("during a read of the old record lets that bring nothing back")
  func duringARead() throws {
    let tiers = try TwoTiers()
    tiers.putOpaqueBelow(1, fill: 1)
    let told = Told()
    let fetch = tiers.pool.fetch([tiers.opaque(1)], in: tiers.fixture.tenant) { told.tell() }
    #expect(try tiers.replace(1, fill: 2).value == [.success(.stored)])
    tiers.tier.endReads()
    #expect(told.number == 1)
    if let found = fetch?.take(tiers.opaque(1)) { #expect(Taken(found) != .filled(1)) }
    #expect(tiers.look(1) == .filled(2))
  }

  @Test(
    "that the tier cannot note is refused, and the old bytes stay",
    arguments: [
      (TierRefusal.failed, PoolRefusal.unavailable), (.busy, .busy(retryAfterMilliseconds: 100)),
      (.closing, .busy(retryAfterMilliseconds: 100)),
    ])
  func refused(refusal: TierRefusal, told: PoolRefusal) throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.purgeRefusal = refusal } })
    _ = try tiers.replace(1, fill: 1)
    tiers.tier.endWrites()
    #expect(try tiers.replace(1, fill: 2).value == [.failure(told)])
    #expect(tiers.look(1) == .filled(1))
    tiers.tier.endWrites()
    #expect(tiers.below(1) == 1, "it is written anew, since the tier has dropped it")
  }

  @Test("of one key by many at once ends with one of them in both tiers")
  func concurrently() throws {
    let tiers = try TwoTiers(prepare: { $0.set { $0.holdsPurges = true } })
    _ = try tiers.replace(1, fill: 1)
    tiers.tier.endWrites()
    let first = try tiers.replace(1, fill: 2)
    let second = try tiers.replace(1, fill: 3)
    for _ in 0..<8 {
      tiers.tier.endPurges()
      tiers.tier.endWrites()
    }
    #expect(first.value == [.success(.stored)] && second.value == [.success(.stored)])
    let winner = tiers.look(1)
    #expect(winner == .filled(2) || winner == .filled(3))
    #expect(tiers.below(1).map { .filled($0) } == winner)
  }

  @Test("with another TTL has the slower tier write it anew")
  func timesToLiveBelow() throws {
    let tiers = try TwoTiers()
    _ = try tiers.replace(1, fill: 1)
    tiers.tier.endWrites()
    let answers = Replacing([])
    tiers.pool.setTTL(5000, of: tiers.opaque(1), in: tiers.fixture.tenant) { answer in
      answers.change { $0.append(answer) }
    }
    tiers.tier.endWrites()
    let name = ScriptedTier.Name(namespace: tiers.fixture.tenant.name, key: tiers.opaque(1))
    #expect(answers.value == [.success(.stored)])
    #expect(tiers.tier.state.withLock { $0.stored[name]?.facts.ttlMilliseconds } == 5000)
    #expect(tiers.look(1) == .filled(1))
  }
}
