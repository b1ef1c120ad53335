import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

@Suite("Recoding a namespace")
struct RecodingTests {
  /// Lets a recoding come to its end.
  private func finish(_ recoding: Recoding, _ made: CodingPool) {
    for _ in 0..<50 where !recoding.progress.isOver {
      made.pass(seconds: 1)
      made.settle()
    }
  }

  @Test("gives every object in both tiers the wanted form, and the raw ones back again")
  func there() throws {
    let made = try CodingPool([])
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    for number in 4...20 { made.tiers.putBelow(number) }
    let recoding = try #require(made.recode(RecodingOrder(codec: 1)))
    finish(recoding, made)
    let progress = recoding.progress
    #expect(progress.isOver && progress.recoded == 20 && progress.failed == 0)
    #expect(progress.bytesBefore == 20 * 32 << 10 && progress.bytesAfter == 20 * 16 << 10)
    #expect((1...20).allSatisfy { made.codecBelow($0) == 1 })
    #expect((1...3).allSatisfy { made.codecInRAM($0) == 1 })
    #expect((4...20).allSatisfy { made.codecInRAM($0) == nil })
    for number in 1...20 { #expect(made.read(number) == .filled(UInt8(number))) }
    let back = try #require(made.recode(RecodingOrder(codec: 0)))
    finish(back, made)
    #expect(back.progress.isOver && back.progress.failed == 0)
    #expect((1...20).allSatisfy { made.codecBelow($0) == 0 })
    for number in 1...20 { #expect(made.read(number) == .filled(UInt8(number))) }
    #expect(made.tenant.quota.chargedBytes <= 256 << 10)
  }

  @Test("leaves lossy forms as they are")
  func lossy() throws {
    let made = try CodingPool([.disk(3)])
    try made.tiers.store(0x5A)
    made.settle()
    made.pool.setEncodingPolicy(.off)
    _ = made.tiers.purge(.keys([]))
    let recoding = try #require(made.recode(RecodingOrder(codec: 1)))
    finish(recoding, made)
    // RAM has it raw still, and can be encoded; what the disk has stays.
    #expect(recoding.progress.isOver && made.codecBelow(0x5A) == 3)
    #expect(made.codecInRAM(0x5A) == 1)
  }

  @Test("concerns one layout if it is told one, and can be cancelled")
  func narrowed() throws {
    let made = try CodingPool([])
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    let other = try #require(
      made.recode(RecodingOrder(.layouts([LayoutID(ofCanonicalEncoding: [1])]), codec: 1)))
    finish(other, made)
    #expect(other.progress.isOver && other.progress.objects == 0)
    let mine = try #require(
      made.recode(RecodingOrder(.layouts([made.tiers.fixture.layout.id]), codec: 1)))
    mine.cancel()
    finish(mine, made)
    #expect(mine.progress.isOver && mine.progress.isCancelled && mine.progress.recoded == 0)
    #expect((1...3).allSatisfy { made.codecInRAM($0) == 0 })
    #expect(made.pool.coding.withLock { $0?.state.withLock { $0.recodings.count } } == 0)
  }

  @Test("counts before it begins, and tells once that it is over")
  func counted() throws {
    let made = try CodingPool([.disk(3)])
    for number in 1...2 { try made.tiers.store(number) }
    made.settle()
    made.pool.setEncodingPolicy(.off)
    for number in 3...5 { made.tiers.putBelow(number) }
    let told = Box<[Recoding.Progress]>([])
    let recoding = try #require(
      made.recode(RecodingOrder(codec: 1)) { told.set(told.value + [$0]) })
    finish(recoding, made)
    let progress = recoding.progress
    #expect(progress.isCounted && progress.objectsTotal == 5 && progress.objects == 5)
    #expect(progress.bytesTotal == 5 * 32 << 10 && progress.bytes == progress.bytesTotal)
    #expect(told.value == [progress])
    #expect(made.coding.recoded == UInt64(progress.recoded) && made.coding.recodings == 0)
  }

  @Test("only counts what it would do if that is all that is wanted")
  func trial() throws {
    let made = try CodingPool([])
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    let first = try #require(made.recode(RecodingOrder(.keys([made.tiers.key(1)]), codec: 1)))
    finish(first, made)
    #expect(first.progress.recoded == 1)
    let trial = try #require(made.recode(RecodingOrder(codec: 1, isTrial: true)))
    finish(trial, made)
    let progress = trial.progress
    #expect(progress.isOver && progress.recoded == 0)
    #expect(progress.objectsTotal == 3 && progress.objects == 3 && progress.recodable == 2)
    #expect(progress.bytesTotal == 80 << 10 && progress.recodableBytes == 64 << 10)
    #expect(progress.declined == [.sameForm: 1])
    #expect((2...3).allSatisfy { made.codecInRAM($0) == 0 && made.codecBelow($0) == 0 })
  }

  @Test("changes one tier alone if it is told one", arguments: [CodingTier.ram, .disk])
  func oneTier(tier: CodingTier) throws {
    let made = try CodingPool([])
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    made.tiers.putBelow(4)
    let recoding = try #require(made.recode(RecodingOrder(tiers: [tier], codec: 1)))
    finish(recoding, made)
    #expect(recoding.progress.recoded == (tier == .ram ? 3 : 4))
    #expect((1...3).allSatisfy { made.codecInRAM($0) == (tier == .ram ? 1 : 0) })
    #expect((1...4).allSatisfy { made.codecBelow($0) == (tier == .ram ? 0 : 1) })
    for number in 1...4 { #expect(made.read(number) == .filled(UInt8(number))) }
  }

  @Test("reads from the disk what RAM has in a lossy form alone")
  func lossyAbove() throws {
    let made = try CodingPool([])
    try made.tiers.store(0x5A)
    made.settle()
    let above = try #require(made.recode(RecodingOrder(tiers: [.ram], codec: 3)))
    finish(above, made)
    #expect(made.codecInRAM(0x5A) == 3 && made.codecBelow(0x5A) == 0)
    let below = try #require(made.recode(RecodingOrder(codec: 1)))
    finish(below, made)
    #expect(below.progress.recoded == 1 && below.progress.bytesAfter == 16 << 10)
    #expect(made.codecInRAM(0x5A) == 3 && made.codecBelow(0x5A) == 1)
  }

  @Test("concerns one kind of objects, or the names given")
  func kinds() throws {
    let made = try CodingPool([])
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    let opaque = try #require(made.recode(RecodingOrder(kind: .opaque, codec: 1)))
    finish(opaque, made)
    #expect(opaque.progress.isOver && opaque.progress.objectsTotal == 0)
    let keys = [made.tiers.key(2), made.tiers.key(9)]
    let named = try #require(made.recode(RecodingOrder(.keys(keys), codec: 1)))
    finish(named, made)
    #expect(named.progress.recoded == 1 && named.progress.objectsTotal == 1)
    #expect(named.progress.declined == [.gone: 1])
    #expect(made.codecInRAM(1) == 0 && made.codecInRAM(2) == 1)
  }

  @Test("refuses every form for what is lossy, and says so", arguments: [0, 1] as [UInt8])
  func lossyStays(codec: UInt8) throws {
    let made = try CodingPool([])
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    let lossy = try #require(made.recode(RecodingOrder(codec: 3)))
    finish(lossy, made)
    #expect(lossy.progress.recoded == 3)
    let back = try #require(made.recode(RecodingOrder(codec: codec)))
    finish(back, made)
    #expect(back.progress.recoded == 0 && back.progress.declined == [.alreadyLossy: 3])
    #expect(back.progress.recodable == 0)
    #expect((1...3).allSatisfy { made.codecInRAM($0) == 3 && made.codecBelow($0) == 3 })
  }

  @Test("tells what the disk refused")
  func refusedBelow() throws {
    let made = try CodingPool([])
    made.tiers.putBelow(1)
    made.tiers.tier.set { $0.rewriteRefusal = .busy }
    let recoding = try #require(made.recode(RecodingOrder(codec: 1)))
    finish(recoding, made)
    #expect(recoding.progress.declined == [.notWritten: 1])
    #expect(made.codecBelow(1) == 0)
  }

  @Test("tells what could not be encoded")
  func failures() throws {
    let made = try CodingPool([])
    made.coder.set { $0.fault = .decodesOther }
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    let recoding = try #require(made.recode(RecodingOrder(codec: 3)))
    finish(recoding, made)
    #expect(recoding.progress.failed == 3 && recoding.progress.recoded == 0)
    #expect((1...3).allSatisfy { made.codecInRAM($0) == 0 && made.codecBelow($0) == 0 })
  }
}
