import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct BudgetTests {
  @Test func buffersIndexAndArenaShareOneCap() throws {
    let fixture = try Fixture()
    let before = fixture.pool.statistics
    let room = before.memoryBytesMax - before.chargedBytes
    #expect(!fixture.pool.chargeBuffers(room + 1))
    #expect(fixture.pool.chargeBuffers(room))
    #expect(!fixture.pool.chargeBuffers(1))
    #expect(fixture.pool.statistics.bufferBytes == room)
    #expect(
      fixture.refusal { try fixture.store(fixture.facts(1)) }
        == .busy(retryAfterMilliseconds: 30_000))
    fixture.pool.refundBuffers(room)
    try fixture.store(fixture.facts(1))
    let overhead = fixture.pool.configuration.objectOverheadBytes
    #expect(fixture.pool.statistics.indexBytes == before.indexBytes + overhead)
    fixture.purge(.keys([fixture.key(1)]))
    #expect(fixture.pool.statistics.chargedBytes == before.chargedBytes)
  }

  @Test func anIndexThatIsFullEvictsEvenIfTheArenaHasRoom() throws {
    let fixture = try Fixture {
      $0.memoryBytesMax -= 4 << 20
      $0.memoryBytesMax += 3 * $0.objectOverheadBytes
    }
    for number in 1...5 { try fixture.store(fixture.facts(number, tokens: 1)) }
    #expect(fixture.present(1...5).count == 3)
    #expect(fixture.pool.statistics.evictions == 2)
  }

  @Test func aLeaseIsChargedAndRefusedOverTheCap() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    let before = fixture.pool.statistics
    let answer = try fixture.match([1], lease: 7)
    #expect(fixture.pool.statistics.chargedBytes > before.chargedBytes)
    #expect(fixture.pool.release(lease: answer.leaseNumber, owner: OwnerID(number: 1)))
    #expect(fixture.pool.chargeBuffers(before.memoryBytesMax - before.chargedBytes))
    guard case .busy = fixture.refusal({ _ = try fixture.match([1], lease: 7) }) else {
      Issue.record("a lease without room")
      return
    }
    #expect(fixture.pool.statistics.leases == 0)
  }

  @Test(arguments: [
    (64 << 20, 16 << 20), (8 << 20, 1 << 20), (1 << 30, 64 << 20), (100 << 30, 64 << 20),
    ((1 << 30) + 12345, 16 << 20),
  ])
  func aPlanFillsTheCapWithSlabsAndLeavesRoomForTheIndex(cap: Int, slab: Int) throws {
    let plan = try PoolConfiguration.plan(memoryBytesMax: cap, slabBytes: slab)
    #expect(plan.arenaBytes + plan.overheadBytes == cap)
    #expect(plan.arenaBytes % slab == 0 && plan.arenaBytes >= slab)
    #expect(plan.overheadBytes >= min(cap / 4, 48 << 20 + cap / 64))
    #expect(plan.overheadBytes > PoolConfiguration(memoryBytesMax: cap).fixedBytes)
  }

  @Test(arguments: [(10, 64 << 20), (4 << 20, 4096), (64 << 20, 64 << 20), (64 << 20, 0), (-5, 1)])
  func aPlanWithoutRoomForASlabIsAFault(cap: Int, slab: Int) {
    #expect(throws: FieldFault.self) {
      try PoolConfiguration.plan(memoryBytesMax: cap, slabBytes: slab)
    }
  }
}
