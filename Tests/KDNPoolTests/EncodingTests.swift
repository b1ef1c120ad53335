import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

@Suite("The background encoder")
struct EncodingTests {
  @Test("replaces what nobody has used for long, and readers get the bytes that were stored")
  func cold() throws {
    let made = try CodingPool([.cold(1)])
    try made.tiers.store(7)
    made.settle()
    made.pass(seconds: 1)
    made.settle()
    #expect(made.codecInRAM(7) == 0)
    made.pass(seconds: 70)
    made.settle()
    #expect(made.codecInRAM(7) == 1)
    let statistics = made.pool.statistics
    #expect(statistics.bytes == 16 << 10 && made.tenant.quota.chargedBytes == 16 << 10)
    #expect(
      statistics.codecs == [
        .init(name: "exact", objects: 1, bytes: 16 << 10, rawBytes: 32 << 10)
      ])
    #expect(statistics.coding.encoded == 1 && statistics.coding.replaced == 1)
    #expect(made.tiers.lookup(7) == .missed(.notReady))
    #expect(made.read(7) == .filled(7))
    guard
      case .hit(let hit) = made.pool.lookup(
        made.tiers.key(7), in: made.tenant, accepting: .exact)
    else {
      Issue.record("missed by one who takes the form")
      return
    }
    #expect(hit.form?.codec == 1 && hit.lease.byteCount == 16 << 10)
    #expect(hit.checksum == hit.form?.checksum && hit.object.byteCount == 32 << 10)
  }

  @Test("leaves what was used meanwhile, and what no rule is for")
  func warm() throws {
    let made = try CodingPool([
      .init(namespace: try NamespaceName("other"), tier: .ram, codec: 1),
      .init(kind: .opaque, tier: .ram, codec: 1), .cold(1),
    ])
    try made.tiers.store(1)
    try made.tiers.store(2)
    for _ in 0..<3 {
      made.pass(seconds: 40)
      #expect(made.tiers.lookup(1) == .filled(1))
      made.settle()
    }
    #expect(made.codecInRAM(1) == 0 && made.codecInRAM(2) == 1)
  }

  @Test("takes nothing from a reader who began before")
  func leased() throws {
    let made = try CodingPool([.cold(3)])
    try made.tiers.store(0x5A)
    guard case .hit(let hit) = made.pool.lookup(made.tiers.key(0x5A), in: made.tenant) else {
      Issue.record("missed")
      return
    }
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(0x5A) == 3)
    #expect(hit.lease.byteCount == 32 << 10 && hit.lease.block.checksum == hit.object.checksum)
    #expect(made.tenant.quota.chargedBytes == (32 + 8) << 10)
    _ = consume hit
    #expect(made.tenant.quota.chargedBytes == 8 << 10)
  }

  @Test(
    "does not believe the coder: whatever it does, no wrong byte is kept",
    arguments: [
      ScriptedCoder.Fault.declines, .fails, .alters, .liesAboutChecksum, .grows, .cannotDecode,
      .decodesOther,
    ])
  func liar(_ fault: ScriptedCoder.Fault) throws {
    for codec: UInt8 in [1, 3] {
      let made = try CodingPool([.cold(codec), .disk(codec)])
      made.coder.set { $0.fault = fault }
      try made.tiers.store(9)
      made.settle()
      made.pass(seconds: 100)
      made.settle()
      #expect(made.codecInRAM(9) == 0 && made.codecBelow(9) == 0)
      #expect(made.tiers.lookup(9) == .filled(9))
      #expect(made.coding.encoded == 0 && made.coding.replaced == 0)
      #expect(made.coding.declined + made.coding.failed == 1, "it is tried once")
      made.pass(seconds: 100)
      #expect(made.encoding.waiting == 0 && made.coder.encodes == 1)
    }
  }

  @Test("leaves bytes alone that are not those that were stored")
  func rotten() throws {
    let made = try CodingPool([.cold(1)])
    let facts = made.tiers.fixture.facts(4)
    try made.tiers.fixture.store(facts, checksum: 4)
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(4) == 0 && made.coding.failed == 1 && made.coder.encodes == 0)
  }

  @Test("begins nothing while requests wait, and no more than its share of the time")
  func manners() throws {
    let isServing = Box(true)
    let made = try CodingPool(
      [.cold(1)],
      settings: { settings in
        settings.isServing = { isServing.value }
        settings.cpuPercent = 10
      })
    for number in 1...3 { try made.tiers.store(number) }
    made.tiers.tier.endWrites()
    made.pass(seconds: 100)
    #expect(made.encoding.waiting == 0 && made.coding.queued == 3)
    isServing.set(false)
    let clock = made.tiers.fixture.clock
    made.coder.set { $0.onEncode = { clock.advance(milliseconds: 5000) } }
    made.pass(seconds: 1)
    made.encoding.runAll()
    // The first took five seconds, of which one was saved up.
    #expect(made.coding.encoded == 1 && made.coding.queued == 2)
    made.pass(seconds: 20)
    made.encoding.runAll()
    #expect(made.coding.encoded == 1)
    made.pass(seconds: 20)
    made.encoding.runAll()
    #expect(made.coding.encoded == 3 && made.coding.encodeNanoseconds == 5_000_000_000)
  }

  @Test("keeps an object's name: the same bytes are present, others conflict")
  func identity() throws {
    let made = try CodingPool([.cold(3), .disk(3)])
    try made.tiers.store(0x5A)
    made.settle()
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(0x5A) == 3 && made.codecBelow(0x5A) == 3)
    guard case .present(let checksum) = try made.tiers.store(0x5A) else {
      Issue.record("stored again")
      return
    }
    #expect(checksum == TwoTiers.checksum(0x5A))
    let facts = made.tiers.fixture.facts(0x5A)
    let refusal = made.tiers.fixture.refusal {
      _ = try made.pool.confirm(facts, checksum: Checksum(5), in: made.tenant)
    }
    #expect(refusal == .conflict(found: checksum, given: Checksum(5)))
    #expect(made.pool.byteCount(of: facts.key, in: made.tenant) == 32 << 10)
  }

  @Test("lets go of what was purged or replaced while it was encoded")
  func purged() throws {
    let made = try CodingPool([.cold(1)])
    try made.tiers.store(5)
    made.settle()
    made.coder.set { state in
      state.onEncode = { _ = made.tiers.purge(.keys([made.tiers.key(5)])) }
    }
    made.pass(seconds: 100)
    made.encoding.runAll()
    #expect(made.codecInRAM(5) == nil && made.tenant.quota.chargedBytes == 0)
    #expect(made.pool.statistics.objects == 0 && made.coding.replaced == 0)
  }

  @Test("counts pins, leases and quotas by the bytes that are kept")
  func pins() throws {
    let made = try CodingPool([.cold(1)])
    try made.tiers.store(5)
    made.settle()
    made.tiers.pinAll([5], milliseconds: 1_000_000)
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(5) == 1)
    let share = made.pool.share(of: made.tenant)
    #expect(share.pinnedObjects == 1 && share.pinnedBytes == 16 << 10)
    #expect(made.pool.unpin([made.tiers.key(5)], in: made.tenant) == [true])
    #expect(made.pool.share(of: made.tenant).pinnedBytes == 0)
    #expect(made.tiers.purge(.keys([made.tiers.key(5)])).value != nil)
    #expect(made.pool.statistics.bytes == 0)
  }

  @Test("makes room: more objects fit when the cold ones are small")
  func room() throws {
    let made = try CodingPool([.cold(3)])
    made.tiers.tier.set { $0.writes = .fault(.notAdmitted) }
    // Encoding itself takes room.
    for number in 0..<7 { try made.tiers.store(number * 16) }
    made.pass(seconds: 100)
    made.settle()
    for number in 7..<13 { try made.tiers.store(number * 16) }
    let here = (0..<13).filter { made.tiers.isInRAM($0 * 16) }
    #expect(here.count > 10)
    _ = made.tiers.purge(.keys((7..<13).map { made.tiers.key($0 * 16) }))
    for number in here where number < 7 {
      #expect(made.read(number * 16) == .filled(UInt8(number * 16)))
    }
  }
}
