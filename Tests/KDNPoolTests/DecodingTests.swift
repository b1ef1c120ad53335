import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

@Suite("Decoding for readers")
struct DecodingTests {
  /// Puts an object into the slower tier in a toy form.
  private func putBelow(
    _ number: Int, codec: UInt8, _ made: CodingPool, decodedChecksum: Checksum? = nil
  ) {
    let raw = [UInt8](repeating: UInt8(number & 255), count: 32 << 10)
    let bytes = ScriptedCoder.encoded(raw, codec == 1 ? 1 : 3)
    let decoded = ScriptedCoder.decoded(bytes, codec == 1 ? 1 : 3, raw.count)
    let form = StoredForm(
      codec: codec, byteCount: bytes.count, checksum: Checksum(of: bytes),
      decodedChecksum: decodedChecksum ?? Checksum(of: decoded))
    made.tiers.tier.put(
      ObjectFacts(
        namespace: made.tenant.name, generation: 0, key: made.tiers.key(number),
        byteCount: raw.count, checksum: Checksum(of: raw), form: form, firstToken: number * 64,
        tokenCount: 32, storedAtMilliseconds: made.tiers.fixture.wallClock.milliseconds()),
      fill: codec == 1 ? UInt8(number & 255) : UInt8(number & 0xF0))
  }

  @Test("what the disk has encoded is given as it is to those who take it, decoded to others")
  func below() throws {
    let made = try CodingPool([])
    putBelow(7, codec: 1, made)
    putBelow(0x5A, codec: 3, made)
    #expect(made.read(7, accepting: .exact) == .filled(7))
    #expect(made.coder.decodes == 0 && made.codecInRAM(7) == 1)
    #expect(made.read(7) == .filled(7))
    #expect(made.read(0x5A, accepting: .exact) == .filled(0x50))
    #expect(made.coder.decodes == 2 && made.coding.decoded == 2)
    #expect(made.pool.statistics.bytes == (16 + 8) << 10)
  }

  @Test("what was decoded from a lossy form says so, and has a checksum of its own")
  func lossy() throws {
    let made = try CodingPool([])
    putBelow(0x5A, codec: 3, made)
    let key = made.tiers.key(0x5A)
    let fetch = made.pool.fetch([key], in: made.tenant) {}
    made.settle()
    guard case .hit(let hit) = fetch?.take(key) else {
      Issue.record("missed")
      return
    }
    #expect(hit.form == nil && hit.decodedFrom == 3 && hit.lease.byteCount == 32 << 10)
    #expect(hit.checksum == Checksum(of: [UInt8](repeating: 0x50, count: 32 << 10)))
    #expect(hit.lease.block.checksum == hit.checksum && hit.checksum != hit.object.checksum)
  }

  @Test("many who want an object have it decoded once, and each is told once")
  func singleFlight() throws {
    let made = try CodingPool([])
    putBelow(7, codec: 1, made)
    #expect(made.read(7, accepting: .exact) == .filled(7))
    let fetches = (0..<5).map { _ in made.tiers.fetch([7]) }
    made.settle()
    #expect(made.coder.decodes == 1 && made.coding.decodesJoined == 4)
    for (fetch, told) in fetches {
      #expect(told.number == 1 && fetch?.isDone == true)
      #expect(made.tiers.take(7, from: fetch) == .filled(7))
      #expect(made.tiers.take(7, from: fetch) == nil)
    }
    #expect(made.pool.statistics.hits == 5 && made.pool.statistics.diskHits == 1)
  }

  @Test("one fetch brings raw, read, decoded and missing objects together")
  func mixed() throws {
    let made = try CodingPool([])
    try made.tiers.store(1)
    made.tiers.putBelow(2)
    putBelow(3, codec: 1, made)
    putBelow(4, codec: 1, made)
    #expect(made.read(4, accepting: .exact) == .filled(4))
    let (fetch, told) = made.tiers.fetch([1, 2, 3, 4, 5])
    #expect(told.number == 0)
    made.settle()
    #expect(told.number == 1)
    #expect(
      (1...5).map { made.tiers.take($0, from: fetch) } == [
        .filled(1), .filled(2), .filled(3), .filled(4), nil,
      ])
  }

  @Test("without the codec or its profile it is a miss with that cause, and stays")
  func undecodable() throws {
    let made = try CodingPool([])
    putBelow(7, codec: 1, made)
    putBelow(0x60, codec: 200, made)
    made.coder.set { $0.hasProfile = false }
    #expect(made.read(7) == .missed(.undecodable))
    #expect(made.tiers.lookup(7) == .missed(.undecodable))
    #expect(made.read(0x60) == .missed(.undecodable))
    #expect(made.read(7, accepting: .exact) == .filled(7))
    made.coder.set { $0.hasProfile = true }
    #expect(made.read(7) == .filled(7))
    #expect(made.codecBelow(7) == 1 && made.codecBelow(0x60) == 200)
    #expect(made.pool.statistics.misses[.undecodable] == 3)
  }

  @Test("a pool that knows no codec gives the bytes to those who do")
  func withoutCoder() throws {
    let tiers = try TwoTiers()
    let made = try CodingPool([])
    putBelow(7, codec: 1, made)
    let stored = made.tiers.tier.state.withLock { $0.stored.values.first?.facts }
    tiers.tier.put(try #require(stored), fill: 7)
    let (fetch, _) = tiers.fetch([7])
    tiers.tier.endReads()
    #expect(tiers.take(7, from: fetch) == .missed(.undecodable))
    // Only numbers that a mask has a bit for can be taken.
    #expect(
      Taken(tiers.pool.lookup(tiers.key(7), in: tiers.fixture.tenant, accepting: .exact))
        == .filled(7))
  }

  @Test(
    "wrong bytes are never given: the object is missed and its name is free again",
    arguments: [ScriptedCoder.Fault.cannotDecode, .decodesOther])
  func corrupt(_ fault: ScriptedCoder.Fault) throws {
    let made = try CodingPool([])
    putBelow(7, codec: 1, made)
    made.coder.set { $0.decodeFault = fault }
    #expect(made.read(7) == .missed(.corrupt))
    #expect(made.codecInRAM(7) == nil && made.codecBelow(7) == nil)
    made.coder.set { $0.decodeFault = .none }
    guard case .published = try made.tiers.store(7) else {
      Issue.record("the name is taken")
      return
    }
    #expect(made.tiers.lookup(7) == .filled(7) && made.coding.decodesFailed == 1)
  }

  @Test("an exact form that gives other bytes than were stored is not believed")
  func inexact() throws {
    let made = try CodingPool([])
    let wrong = [UInt8](repeating: 8, count: 32 << 10)
    putBelow(7, codec: 1, made, decodedChecksum: Checksum(of: wrong))
    #expect(made.read(7) == .missed(.corrupt))
  }

  @Test("decoded bytes take room in RAM, or in staging memory, or wait for some")
  func room() throws {
    let made = try CodingPool([])
    for number in 0..<2 { putBelow(number, codec: 1, made) }
    for number in 10..<17 { try made.tiers.store(number) }
    made.settle()
    made.tiers.pinAll(10..<17)
    #expect(made.read(0, accepting: .exact) == .filled(0))
    #expect(made.read(1, accepting: .exact) == .filled(1))
    made.tiers.pinAll(0..<2, milliseconds: 10_000)
    let (fetch, told) = made.tiers.fetch([0])
    made.settle()
    #expect(told.number == 0 && made.coding.decoded == 0)
    made.pass(seconds: 2)
    made.settle()
    #expect(told.number == 1 && made.tiers.take(0, from: fetch) == .filled(0))
  }

  @Test("what finds no room in time is missed")
  func noRoom() throws {
    let made = try CodingPool([])
    putBelow(0, codec: 1, made)
    for number in 10..<17 { try made.tiers.store(number) }
    made.settle()
    #expect(made.read(0, accepting: .exact) == .filled(0))
    made.tiers.pinAll(Array(10..<17) + [0], milliseconds: 1_000_000)
    try made.tiers.store(18, tokens: 16)
    made.tiers.pinAll([18], milliseconds: 1_000_000)
    made.settle()
    let (fetch, told) = made.tiers.fetch([0])
    for _ in 0..<10 {
      made.pass(seconds: 1)
      made.settle()
    }
    #expect(told.number == 1 && made.tiers.take(0, from: fetch) == .missed(.notReady))
  }

  @Test("an exact form that is decoded again and again is kept decoded, if the policy says so")
  func hot() throws {
    let made = try CodingPool([], keepsDecodedFromUse: 3)
    putBelow(7, codec: 1, made)
    putBelow(0x50, codec: 3, made)
    for _ in 0..<4 {
      #expect(made.read(7) == .filled(7))
      #expect(made.read(0x50) == .filled(0x50))
    }
    #expect(made.codecInRAM(7) == 0 && made.codecBelow(7) == 1)
    #expect(made.coding.replaced >= 1)
    let before = made.coder.decodes
    #expect(made.read(7) == .filled(7) && made.coder.decodes == before)
  }

  @Test("RAM alone decodes too")
  func ramOnly() throws {
    let fixture = try Fixture()
    let (coder, decoding, encoding) = (ScriptedCoder(), ManualExecutor(), ManualExecutor())
    fixture.pool.startCoding(coder, decoding: decoding, encoding: encoding)
    var policy = EncodingPolicy()
    policy.rules = [.cold(1)]
    fixture.pool.setEncodingPolicy(policy)
    let facts = fixture.facts(1)
    guard case .reserved(let room) = try fixture.pool.reserve(facts, in: fixture.tenant) else {
      Issue.record("present")
      return
    }
    room.memory.base.initializeMemory(as: UInt8.self, repeating: 1, count: room.byteCount)
    _ = try fixture.pool.publish(
      room, facts, checksum: TwoTiers.checksum(1), in: fixture.tenant)
    fixture.pool.tick(now: fixture.clock.now())
    fixture.clock.advance(milliseconds: 100_000)
    fixture.pool.tick(now: fixture.clock.now())
    encoding.runAll()
    #expect(fixture.missCause(1) == .notReady)
    let told = Told()
    let fetch = fixture.pool.fetch([facts.key], in: fixture.tenant) { told.tell() }
    decoding.runAll()
    guard let lookup = fetch?.take(facts.key) else {
      Issue.record("nothing was decoded")
      return
    }
    let taken = Taken(lookup)
    #expect(told.number == 1 && taken == .filled(1))
    let cancelled = fixture.pool.fetch([facts.key], in: fixture.tenant) { told.tell() }
    cancelled?.cancel()
    decoding.runAll()
    #expect(told.number == 1)
  }
}
