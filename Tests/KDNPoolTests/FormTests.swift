import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

@Suite("Objects in several forms")
struct FormTests {
  @Test("what is encoded between a fetch and the look into RAM is given as the fetch found it")
  func encodedMeanwhile() throws {
    let made = try CodingPool([.cold(1)])
    try made.tiers.store(7)
    made.settle()
    let (fetch, told) = made.tiers.fetch([7])
    #expect(made.codecInRAM(7) == 0)
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(7) == 1)
    #expect((made.tiers.take(7, from: fetch) ?? made.tiers.lookup(7)) == .filled(7))
    #expect(fetch?.isDone == true && told.number == 1, "nothing was waited for")
    #expect(made.coder.decodes == 1, "the encoder's own")
    let statistics = made.pool.statistics
    #expect(statistics.hits == 1 && statistics.misses[.notReady] == 0)
  }

  @Test("the same for many at once, some of them to be decoded, and for a recoding")
  func recodedMeanwhile() throws {
    let made = try CodingPool([])
    for number in 1...2 { try made.tiers.store(number) }
    made.settle()
    let recoding = try #require(made.pool.recode(RecodingOrder(codec: 1), in: made.tenant))
    let (fetch, _) = made.tiers.fetch([1, 2, 1])
    while !recoding.progress.isOver {
      made.pass(seconds: 1)
      made.settle()
    }
    #expect(made.codecInRAM(1) == 1 && made.codecInRAM(2) == 1)
    for number in [1, 2, 1] {
      #expect(
        (made.tiers.take(number, from: fetch) ?? made.tiers.lookup(number))
          == .filled(UInt8(number)))
    }
  }

  @Test("who takes every form that RAM may change to fetches nothing that is there")
  func takesAll() throws {
    let made = try CodingPool([.cold(1)])
    try made.tiers.store(7)
    made.settle()
    #expect(made.pool.fetch([made.tiers.key(7)], in: made.tenant, accepting: .exact) {} == nil)
    #expect(made.read(7, accepting: .exact) == .filled(7))
  }

  // MARK: Forms in both tiers

  /// RAM has an object raw, the slower tier has it lossy.
  private func rawAboveLossy(_ number: Int) throws -> CodingPool {
    let made = try CodingPool([.disk(3)])
    try made.tiers.store(number)
    made.settle()
    #expect(made.codecInRAM(number) == 0 && made.codecBelow(number) == 3)
    return made
  }

  /// RAM has an object lossy, the slower tier has it raw.
  private func lossyAboveRaw(_ number: Int) throws -> CodingPool {
    let made = try CodingPool([.cold(3)])
    try made.tiers.store(number)
    made.settle()
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(number) == 3 && made.codecBelow(number) == 0)
    return made
  }

  private func fetch(
    _ number: Int, _ made: CodingPool, accepting accepted: CodecSet = .raw,
    isExact: Bool = false, isBelow: Bool = true
  ) -> Fetch? {
    let key = made.tiers.key(number)
    let terms = FetchTerms(accepting: accepted, isExact: isExact, below: isBelow ? [key] : [])
    return made.pool.fetch([key], in: made.tenant, terms) {}
  }

  @Test("the forms of both tiers are told, and once where they are the same")
  func told() throws {
    let made = try rawAboveLossy(0x5A)
    made.tiers.putBelow(8)
    func tiers(_ number: Int) -> [String]? {
      made.pool.forms(of: made.tiers.key(number), in: made.tenant)?.forms.map {
        "\($0.tier) \($0.form?.codec ?? 0) \($0.byteCount >> 10) \($0.isExact)"
      }
    }
    #expect(tiers(0x5A) == ["ram 0 32 true", "disk 3 8 false"])
    #expect(tiers(8) == ["disk 0 32 true"])
    #expect(made.read(8) == .filled(8))
    #expect(tiers(8) == ["ram 0 32 true"] && tiers(9) == nil)
    let forms = try #require(made.pool.forms(of: made.tiers.key(8), in: made.tenant))
    #expect(forms.byteCount == 32 << 10 && forms.tokenCount == 32 && forms.isInRAM)
  }

  @Test("a shorter form is read from below for who wants it, and RAM keeps its own")
  func shorter() throws {
    let made = try rawAboveLossy(0x5A)
    let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
    #expect(fetch?.isDone == false)
    made.settle()
    guard case .hit(let hit) = fetch?.take(made.tiers.key(0x5A)) else {
      Issue.record("missed")
      return
    }
    #expect(hit.form?.codec == 3 && hit.lease.byteCount == 8 << 10)
    #expect(hit.lease.block.checksum == hit.checksum && hit.object.byteCount == 32 << 10)
    #expect(made.codecInRAM(0x5A) == 0 && made.tiers.tier.count("read") == 1)
    let statistics = made.pool.statistics
    #expect(statistics.objects == 1 && statistics.bytes == 32 << 10 && statistics.diskHits == 1)
    #expect(made.read(0x5A) == .filled(0x5A))
  }

  @Test("what was read from below leaves RAM when its reader is through with it")
  func leaves() throws {
    let made = try rawAboveLossy(0x5A)
    for _ in 0..<40 {
      let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
      made.settle()
      #expect(made.tiers.take(0x5A, from: fetch) == .filled(0x50))
    }
    #expect(made.tenant.quota.chargedBytes == 32 << 10 && made.codecInRAM(0x5A) == 0)
  }

  @Test("where the read fails, RAM's form is given", arguments: [MissCause.corrupt, .evicted])
  func substitute(_ cause: MissCause) throws {
    let made = try rawAboveLossy(0x5A)
    let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
    made.tiers.tier.endRead(.missed(cause))
    #expect(made.tiers.take(0x5A, from: fetch) == .filled(0x5A))
  }

  @Test("where there is no room to read it, RAM's form is given at once")
  func withoutRoom() throws {
    let made = try rawAboveLossy(0x5A)
    made.pool.setEncodingPolicy(.off)
    for number in 1...7 { try made.tiers.store(number) }
    made.settle()
    made.tiers.pinAll(Array(1...7) + [0x5A])
    #expect(made.codecInRAM(0x5A) == 0)
    let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
    #expect(fetch?.isDone == true && made.tiers.take(0x5A, from: fetch) == .filled(0x5A))
    #expect(made.tiers.tier.count("read") == 0)
  }

  @Test("a tier that was too busy for too long leaves RAM's form")
  func busy() throws {
    let made = try rawAboveLossy(0x5A)
    made.tiers.tier.set { $0.reads = .fault(.busy) }
    let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
    made.pass(seconds: 1000)
    #expect(made.tiers.take(0x5A, from: fetch) == .filled(0x5A))
  }

  @Test("who wants the very bytes has them read where RAM has lost some")
  func exact() throws {
    let made = try lossyAboveRaw(0x5A)
    let codecs = CodecSet(rawValue: 1 << 3)
    #expect(made.read(0x5A, accepting: codecs) == .filled(0x50))
    #expect(made.read(0x5A) == .filled(0x50), "others are content with what RAM has")
    let before = made.tiers.tier.count("read")
    let fetch = fetch(0x5A, made, accepting: codecs, isExact: true, isBelow: false)
    made.settle()
    #expect(made.tiers.take(0x5A, from: fetch) == .filled(0x5A))
    #expect(made.tiers.tier.count("read") == before + 1 && made.codecInRAM(0x5A) == 3)
  }

  @Test("with time for it the better form is read from below")
  func better() throws {
    let made = try lossyAboveRaw(0x5A)
    let fetch = fetch(0x5A, made)
    made.settle()
    #expect(made.tiers.take(0x5A, from: fetch) == .filled(0x5A))
  }

  @Test("what is purged while it is read from below is missed")
  func purged() throws {
    let made = try rawAboveLossy(0x5A)
    let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
    let facts = try #require(made.tiers.tier.state.withLock { $0.stored.values.first?.facts })
    _ = made.tiers.purge(.keys([made.tiers.key(0x5A)]))
    made.tiers.tier.endRead(.whole(facts))
    #expect(made.tiers.take(0x5A, from: fetch) == .missed(.purged))
    #expect(made.codecInRAM(0x5A) == nil && made.tenant.quota.chargedBytes == 0)
  }

  @Test("what is evicted while it is read from below comes to RAM in that form")
  func evicted() throws {
    let made = try rawAboveLossy(0x5A)
    let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
    for number in 1...7 { try made.tiers.store(number) }
    made.settle()
    #expect(made.tiers.take(0x5A, from: fetch) == .filled(0x50))
  }

  @Test("other bytes that were stored under the name meanwhile are what RAM has")
  func storedAnew() throws {
    let made = try rawAboveLossy(0x5A)
    let fetch = fetch(0x5A, made, accepting: CodecSet(rawValue: 1 << 3))
    let facts = try #require(made.tiers.tier.state.withLock { $0.stored.values.first?.facts })
    _ = made.tiers.purge(.keys([made.tiers.key(0x5A)]))
    let other = made.tiers.fixture.facts(0x5A)
    guard case .reserved(let room) = try made.pool.reserve(other, in: made.tenant) else {
      Issue.record("present")
      return
    }
    room.memory.base.initializeMemory(as: UInt8.self, repeating: 0x77, count: room.byteCount)
    _ = try made.pool.publish(room, other, checksum: TwoTiers.checksum(0x77), in: made.tenant)
    made.tiers.tier.endRead(.whole(facts))
    #expect(made.tiers.take(0x5A, from: fetch) == .filled(0x77))
    // Its way to the slower tier ends too: until then the pool keeps it, and itself.
    made.settle()
    #expect(made.codecInRAM(0x5A) == 0 && made.codecBelow(0x5A) == 3)
  }
}
