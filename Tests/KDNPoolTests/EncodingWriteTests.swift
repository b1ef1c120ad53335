import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

@Suite("Encoding on the way to the slower tier")
struct EncodingWriteTests {
  @Test("what nobody waits for is encoded first, written once, and stays raw in RAM")
  func first() throws {
    let made = try CodingPool([.disk(1)])
    try made.tiers.store(7)
    #expect(made.tiers.tier.pendingWrites.isEmpty && made.tiers.writes.leasedBytes == 32 << 10)
    made.settle()
    #expect(made.codecInRAM(7) == 0 && made.codecBelow(7) == 1)
    #expect(made.tiers.tier.count("write") == 1 && made.tiers.writes.leasedBytes == 0)
    #expect(made.tiers.writes.counts.writtenBytes == 16 << 10)
    let statistics = made.pool.statistics
    #expect(
      statistics.diskCodecs == [
        .init(name: "exact", objects: 1, bytes: 16 << 10, rawBytes: 32 << 10)
      ])
    #expect(made.tenant.quota.chargedBytes == 32 << 10)
  }

  @Test("what somebody wants durable is written at once, and replaced when that is durable too")
  func durable() throws {
    let made = try CodingPool([.disk(3)])
    made.pool.setAdmission(OnlyWanted())
    try made.tiers.store(0x5A)
    let answers = made.tiers.makeDurable(0x5A)
    made.tiers.tier.endWrites()
    #expect(answers.value == [nil] && made.codecBelow(0x5A) == 0)
    made.settle()
    #expect(made.codecBelow(0x5A) == 3 && made.codecInRAM(0x5A) == 0)
    #expect(made.coding.rewritten == 1 && made.tiers.tier.count("rewrite") == 1)
  }

  @Test("durability that is asked for while it is encoded does not wait for that")
  func durableMeanwhile() throws {
    let made = try CodingPool([.disk(1)])
    try made.tiers.store(7)
    let answers = made.tiers.makeDurable(7)
    made.tiers.tier.endWrites()
    #expect(answers.value == [nil] && made.codecBelow(7) == 0)
    made.settle()
    #expect(made.tiers.writes.leasedObjects == 0 && made.tiers.writes.leasedBytes == 0)
    #expect(made.read(7) == .filled(7))
  }

  @Test("what was purged while it was encoded is not written")
  func purged() throws {
    let made = try CodingPool([.disk(1)])
    try made.tiers.store(7)
    made.coder.set { state in
      state.onEncode = { _ = made.tiers.purge(.keys([made.tiers.key(7)])) }
    }
    made.settle()
    #expect(made.tiers.tier.count("write") == 0 && made.codecBelow(7) == nil)
    #expect(made.tiers.writes.leasedBytes == 0 && made.tenant.quota.chargedBytes == 0)
  }

  @Test("what was stored anew under its name meanwhile is written as that")
  func replaced() throws {
    let made = try CodingPool([.disk(1)])
    try made.tiers.store(7)
    let answer = Box<Result<ReplaceAnswer, PoolRefusal>?>(nil)
    made.pool.setTTL(60_000, of: made.tiers.key(7), in: made.tenant) { answer.set($0) }
    #expect(try answer.value?.get() == .stored)
    made.settle()
    #expect(made.codecBelow(7) == 1)
    let ttl = made.tiers.tier.state.withLock { $0.stored.values.first?.facts.ttlMilliseconds }
    #expect(ttl == 60_000)
  }

  @Test("a tier that is busy gets the encoded bytes later, which are not made again")
  func busy() throws {
    let made = try CodingPool([.disk(1)])
    made.tiers.tier.set { $0.writes = .fault(.busy) }
    try made.tiers.store(7)
    made.encoding.runAll()
    #expect(made.tiers.writes.waitingObjects == 1 && made.tiers.writes.leasedBytes == 0)
    made.tiers.tier.set { $0.writes = .atOnce }
    made.pass(seconds: 1)
    #expect(made.codecBelow(7) == 1 && made.coder.encodes == 1)
    #expect(made.tiers.writes.waitingBytes == 0 && made.tiers.writes.leasedBytes == 0)
  }

  @Test("when too many wait to be encoded, the others are written as they are")
  func overflow() throws {
    let made = try CodingPool([.disk(1)], settings: { $0.queuedMax = 2 })
    for number in 1...4 { try made.tiers.store(number) }
    made.settle()
    // One left the queue at once.
    #expect((1...4).map { made.codecBelow($0) } == [1, 1, 1, 0])
    #expect(made.coding.overflows == 1)
  }

  @Test("what waits too long to be encoded is written as it is")
  func overdue() throws {
    let made = try CodingPool([.disk(1)], settings: { $0.isServing = { true } })
    for number in 1...3 { try made.tiers.store(number) }
    made.settle()
    #expect(!made.tiers.isBelow(1) && made.coding.queued == 3)
    made.pass(seconds: 6)
    made.settle()
    #expect((1...3).allSatisfy { made.codecBelow($0) == 0 })
    #expect(made.coding.overflows == 3 && made.tiers.writes.leasedBytes == 0)
  }

  @Test("a pool that closes writes all that waits, and waits for no encoder")
  func closing() throws {
    let made = try CodingPool([.disk(1), .cold(1)], settings: { $0.isServing = { true } })
    for number in 1...3 { try made.tiers.store(number) }
    #expect(made.encoding.waiting == 0)
    let isClosed = Box(false)
    made.pool.closeTier { isClosed.set(true) }
    made.settle()
    #expect((1...3).allSatisfy { made.tiers.isBelow($0) })
    #expect(made.coder.encodes == 0 && made.tiers.writes.leasedObjects == 0)
  }

  @Test("a cold object that the disk holds raw is encoded in both places")
  func both() throws {
    let made = try CodingPool([.cold(1), .disk(1)])
    made.coder.set { $0.fault = .declines }
    try made.tiers.store(7)
    made.settle()
    #expect(made.codecBelow(7) == 0)
    made.coder.set { $0.fault = .none }
    // Another object, of which nothing was declined.
    made.tiers.putBelow(8)
    #expect(made.read(8) == .filled(8))
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(8) == 1 && made.codecBelow(8) == 1)
  }

  @Test("what was encoded in RAM goes to the disk as it is")
  func encodedBefore() throws {
    let made = try CodingPool([.cold(3)])
    made.pool.setAdmission(OnlyWanted())
    try made.tiers.store(0x5A)
    made.pass(seconds: 100)
    made.settle()
    #expect(made.codecInRAM(0x5A) == 3 && made.codecBelow(0x5A) == nil)
    let answers = made.tiers.makeDurable(0x5A)
    made.settle()
    #expect(answers.value == [nil] && made.codecBelow(0x5A) == 3)
    #expect(made.tiers.writes.counts.writtenBytes == 8 << 10)
  }

  // MARK: The day's budget

  @Test("the day's budget is charged with what is written, not with what it was before")
  func budget() throws {
    let made = try CodingPool([.disk(1)], writeBytesPerDay: 48 << 10)
    for number in 1...3 {
      try made.tiers.store(number)
      made.settle()
    }
    // Twice 16 KiB are spent; the third would need 32 KiB until it is encoded.
    #expect((1...3).map { made.codecBelow($0) } == [1, 1, nil])
    #expect(made.tiers.writes.counts.overBudget == 1)
    try made.tiers.store(4, tokens: 16)
    made.settle()
    #expect(made.codecBelow(4) == 1)
  }

  @Test("what was purged before it was written costs nothing")
  func budgetOfPurged() throws {
    let made = try CodingPool([.disk(1)], writeBytesPerDay: 32 << 10)
    try made.tiers.store(1)
    made.coder.set { state in
      state.onEncode = { _ = made.tiers.purge(.keys([made.tiers.key(1)])) }
    }
    made.settle()
    try made.tiers.store(2)
    made.settle()
    #expect(made.codecBelow(1) == nil && made.codecBelow(2) == 1)
  }

  @Test("a tier that is busy is paid once, for the encoded bytes")
  func budgetWhenBusy() throws {
    let made = try CodingPool([.disk(1)], writeBytesPerDay: 32 << 10)
    made.tiers.tier.set { $0.writes = .fault(.busy) }
    try made.tiers.store(7)
    made.encoding.runAll()
    made.tiers.tier.set { $0.writes = .atOnce }
    made.pass(seconds: 1)
    try made.tiers.store(8, tokens: 16)
    made.settle()
    #expect(made.codecBelow(7) == 1 && made.codecBelow(8) == 1)
    try made.tiers.store(9, tokens: 16)
    made.settle()
    #expect(!made.tiers.isBelow(9) && made.tiers.writes.counts.overBudget == 1)
  }

  @Test("a cold object is not written again beyond the budget")
  func budgetOfRewrites() throws {
    let made = try CodingPool([.cold(1), .disk(1)], writeBytesPerDay: 20 << 10)
    for number in 1...2 {
      made.tiers.putBelow(number)
      #expect(made.read(number) == .filled(UInt8(number)))
    }
    made.pass(seconds: 100)
    made.settle()
    #expect((1...2).allSatisfy { made.codecInRAM($0) == 1 })
    #expect(Set((1...2).map { made.codecBelow($0) }) == [0, 1])
    #expect(made.coding.rewritten == 1 && made.coding.rewritesRefused == 1)
  }
}
