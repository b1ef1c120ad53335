import Glibc
import Testing

@testable import KDNMemory

@Suite("The arena")
struct ArenaTests {
  private static let slab = 1 << 20
  private let alice = ArenaOwner(number: 1)
  private let bob = ArenaOwner(number: 2)

  private func makeArena(slabs: Int, prefault: Bool = false) throws -> Arena {
    try Arena(
      ArenaConfiguration(
        capacityBytes: slabs * Self.slab, slabBytes: Self.slab, hugePages: .off,
        lockMemory: .off, numa: .off, prefault: prefault))
  }

  @Test("says what it really obtained")
  func reportsPlacement() throws {
    let arena = try makeArena(slabs: 3, prefault: true)
    #expect(arena.placement.slabCount == 3)
    #expect(arena.placement.slabBytes == Self.slab)
    #expect(arena.placement.prefaultNanoseconds > 0)
    #expect(arena.placement.lockedBytes == 0)
    #expect(arena.statistics.freeSlabs == 3)
  }

  @Test("rounds its capacity down to whole slabs and refuses sizes that cannot work")
  func checksSizes() throws {
    let arena = try Arena(
      ArenaConfiguration(
        capacityBytes: 5 * Self.slab / 2, slabBytes: Self.slab, hugePages: .off,
        lockMemory: .off, numa: .off, prefault: false))
    #expect(arena.statistics.capacityBytes == 2 * Self.slab)
    for (capacity, slab) in [(Self.slab - 1, Self.slab), (Self.slab, 0), (Self.slab, 4095)] {
      #expect(throws: ArenaError.sizes(capacityBytes: capacity, slabBytes: slab)) {
        try Arena(ArenaConfiguration(capacityBytes: capacity, slabBytes: slab))
      }
    }
  }

  @Test("gives back what a dropped reservation held")
  func droppedReservationGivesBack() throws {
    let arena = try makeArena(slabs: 1)
    do {
      guard let reservation = arena.reserve(byteCount: Self.slab, owner: alice) else {
        throw NoRoom()
      }
      #expect(arena.statistics.allocatedBytes == reservation.byteCount)
    }
    #expect(arena.statistics.allocatedBytes == 0)
    #expect(arena.statistics.freeSlabs == 1)
  }

  @Test("keeps a block until its last reference and lease are gone")
  func leasesKeepBlocks() throws {
    let arena = try makeArena(slabs: 1)
    do {
      var block = arena.store(1000, alice)
      let lease = block?.lease()
      #expect(block?.isLeased == true)
      block = nil
      #expect(arena.statistics.extents == 1)
      #expect(lease?.byteCount == 1000)
    }
    #expect(arena.statistics.extents == 0)
  }

  @Test("never lets two owners share a slab, and hands slabs on only as fresh zeros")
  func ownersNeverShare() throws {
    let arena = try makeArena(slabs: 1)
    do {
      guard let secret = arena.reserve(byteCount: 4096, owner: alice) else { throw NoRoom() }
      secret.base.initializeMemory(as: UInt8.self, repeating: 0xAA, count: 4096)
      #expect(arena.store(64, bob) == nil)
      #expect(arena.statistics.slabsByOwner == [alice: 1])
    }
    guard let fresh = arena.reserve(byteCount: Self.slab, owner: bob) else { throw NoRoom() }
    let bytes = UnsafeRawBufferPointer(start: fresh.base, count: fresh.byteCount)
    #expect(bytes.allSatisfy { $0 == 0 })
    #expect(arena.statistics.slabsByOwner == [bob: 1])
  }

  @Test("makes one large slab of several free ones for an object larger than a slab")
  func holdsOversizeObjects() throws {
    let arena = try makeArena(slabs: 4)
    do {
      guard let large = arena.reserve(byteCount: 3 * Self.slab - 100, owner: alice) else {
        throw NoRoom()
      }
      large.base.initializeMemory(as: UInt8.self, repeating: 1, count: large.byteCount)
      #expect(arena.statistics.freeSlabs == 1)
      #expect(arena.statistics.capacityBytes == 4 * Self.slab)
      #expect(arena.store(Self.slab, bob) != nil)
      #expect(arena.store(2 * Self.slab, bob) == nil)
    }
    #expect(arena.statistics.freeSlabs == 4)
    #expect(arena.store(4 * Self.slab, bob) != nil)
    #expect(!arena.canEverHold(byteCount: 4 * Self.slab + 1))
  }

  @Test("keeps small objects out of a large one's slab, which then comes back whole")
  func oversizeSlabsAreDedicated() throws {
    let arena = try makeArena(slabs: 4)
    var large = arena.store(2 * Self.slab + 100, alice)
    let small = arena.store(64, alice)
    #expect(arena.statistics.freeSlabs == 0)
    #expect(large != nil && small != nil)
    large = nil
    #expect(arena.statistics.freeSlabs == 3)
    #expect(arena.store(2 * Self.slab + 100, alice) != nil)
    withExtendedLifetime(small) {}
  }

  @Test("gives an owner the slab it had, or one that nobody had, before another's")
  func prefersSlabsThatNeedNoFreshMemory() throws {
    let arena = try makeArena(slabs: 4)
    let first = try #require(arena.store(64, alice)?.slab.id)
    let second = try #require(arena.store(64, bob)?.slab.id)
    #expect(first != second)
    for _ in 0..<5 {
      #expect(arena.store(64, alice)?.slab.id == first)
      #expect(arena.store(64, bob)?.slab.id == second)
    }
  }

  @Test("never hands out more than its capacity, which large slabs do not change")
  func staysUnderCapacity() throws {
    let arena = try makeArena(slabs: 4)
    var random = SplitMix(state: 11)
    var held: [Block] = []
    for _ in 0..<2_000 {
      let owner = ArenaOwner(number: UInt32(random.next(below: 3)))
      let bytes = 1 + random.next(below: 1 << random.next(below: 22))
      if let block = arena.store(bytes, owner) {
        held.append(block)
      }
      if held.count > 6 { held.remove(at: random.next(below: held.count)) }
      #expect(arena.statistics.allocatedBytes <= 4 * Self.slab)
      #expect(arena.statistics.capacityBytes == 4 * Self.slab)
    }
    held.removeAll()
    #expect(arena.statistics.freeSlabs == 4)
  }

  @Test("goes on when memory cannot be locked, and says how much is")
  func survivesRefusedLock() async {
    await #expect(processExitsWith: .success) {
      // Nobody, with leave to lock one slab: the super-user could lock them all.
      var limit = rlimit(rlim_cur: 1 << 20, rlim_max: 1 << 20)
      setrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit)
      if getuid() == 0 { guard setuid(65534) == 0 else { _exit(2) } }
      let arena = try Arena(
        ArenaConfiguration(
          capacityBytes: 4 << 20, slabBytes: 1 << 20, hugePages: .auto, lockMemory: .auto,
          numa: .auto, prefault: true))
      let isUsable = arena.store(1 << 20, ArenaOwner(number: 1)) != nil
      _exit(isUsable && arena.placement.lockedBytes == 1 << 20 ? 0 : 1)
    }
  }

  @Test("serves many threads at once and loses nothing")
  func servesThreads() async throws {
    let arena = try makeArena(slabs: 8)
    await withTaskGroup(of: Void.self) { group in
      for thread in 0..<4 {
        group.addTask {
          var random = SplitMix(state: UInt64(thread))
          var held: [Block] = []
          for _ in 0..<2_000 {
            let owner = ArenaOwner(number: UInt32(random.next(below: 2)))
            let bytes = 1 + random.next(below: 100_000)
            if let reservation = arena.reserve(byteCount: bytes, owner: owner) {
              reservation.base.storeBytes(of: UInt8(thread), as: UInt8.self)
              held.append(reservation.seal())
            }
            if held.count > 8 { held.removeFirst() }
            for block in held where block.base.load(as: UInt8.self) != UInt8(thread) {
              Issue.record("another thread wrote into this block")
            }
          }
        }
      }
    }
    #expect(arena.statistics.extents == 0)
    #expect(arena.statistics.freeSlabs == 8)
  }
}

private struct NoRoom: Error {}

extension Arena {
  /// Takes room and seals it at once.
  fileprivate func store(_ byteCount: Int, _ owner: ArenaOwner) -> Block? {
    guard let reservation = reserve(byteCount: byteCount, owner: owner) else { return nil }
    return reservation.seal()
  }
}
