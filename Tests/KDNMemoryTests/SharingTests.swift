import Glibc
import Testing

@testable import KDNMemory

@Suite("Memory shared with clients")
struct SharingTests {
  private static let slab = 1 << 20
  private let alice = ArenaOwner(number: 1)
  private let bob = ArenaOwner(number: 2)

  private struct NoRoom: Error {}

  private func makeArena(slabs: Int) throws -> Arena {
    try Arena(
      ArenaConfiguration(
        capacityBytes: slabs * Self.slab, slabBytes: Self.slab, hugePages: .off,
        lockMemory: .off, numa: .off, prefault: false))
  }

  private func store(_ byteCount: Int, _ owner: ArenaOwner, _ arena: Arena) throws -> Block {
    guard let reservation = arena.reserve(byteCount: byteCount, owner: owner) else {
      throw NoRoom()
    }
    reservation.base.initializeMemory(
      as: UInt8.self, repeating: UInt8(owner.number), count: byteCount)
    return reservation.seal()
  }

  /// What a client sees that has the slab mapped.
  private func seen(_ slab: Slab) throws -> [UInt8] { Array(try map(slab)) }

  private func map(_ slab: Slab) throws -> MappedSlab {
    MappedSlab(
      view: try SharedView(
        mapping: #require(slab.openForReading()), byteCount: slab.byteCount, writable: false))
  }

  @Test("shows a block at its slab's offset to whoever maps the slab")
  func blocksHavePlaces() throws {
    let arena = try makeArena(slabs: 2)
    #expect(arena.isShareable)
    let first = try store(1000, alice, arena)
    let second = try store(100_000, bob, arena)
    for (block, byte) in [(first, UInt8(1)), (second, 2)] {
      let bytes = try seen(block.slab)
      let place = bytes[block.offset..<block.offset + block.byteCount]
      #expect(place.allSatisfy { $0 == byte })
    }
    #expect(first.slab.id != second.slab.id)
  }

  @Test("never shows one owner's bytes in what another has mapped: the number changes, too")
  func slabsChangeWithTheirOwner() throws {
    let arena = try makeArena(slabs: 1)
    let before = try {
      let block = try store(4096, alice, arena)
      return (id: block.slab.id, view: try map(block.slab))
    }()
    let block = try store(4096, bob, arena)
    #expect(block.slab.id != before.id)
    #expect(before.view.prefix(4096).allSatisfy { $0 == 1 })
    #expect(before.view.dropFirst(4096).allSatisfy { $0 == 0 })
    #expect(try seen(block.slab).prefix(4096).allSatisfy { $0 == 2 })
  }

  @Test("keeps the number while the owner is the same, and gives large objects their own")
  func numbersFollowMemory() throws {
    let arena = try makeArena(slabs: 3)
    let first = try store(64, alice, arena).slab.id
    #expect(try store(64, alice, arena).slab.id == first)
    let large = try store(2 * Self.slab, alice, arena).slab.id
    #expect(large != first)
    #expect(try store(2 * Self.slab, alice, arena).slab.id != large)
  }

  @Test("counts memory that only clients hold any more, until they have let go")
  func countsStrandedMemory() throws {
    let arena = try makeArena(slabs: 1)
    var shares: [SlabShare] = []
    do {
      let slab = try store(64, alice, arena).slab
      shares = [slab.share(), slab.share()]
    }
    #expect(arena.strandedBytes == 0)
    _ = try store(64, bob, arena)
    #expect(arena.strandedBytes == Self.slab)
    shares.removeLast()
    #expect(arena.strandedBytes == Self.slab)
    shares.removeLast()
    #expect(arena.strandedBytes == 0)
    // Who lets go while the slab is still there strands nothing.
    _ = try store(64, bob, arena).slab.share()
    _ = try store(64, alice, arena)
    #expect(arena.strandedBytes == 0)
  }

  @Test("hands on slabs that no client has mapped before others")
  func prefersUnsharedSlabs() throws {
    let arena = try makeArena(slabs: 4)
    var blocks = try (0..<4).map { _ in try store(Self.slab, alice, arena) }
    let shares = [0, 2, 3].map { blocks[$0].slab.share() }
    blocks = []
    let held = try store(Self.slab, bob, arena)
    #expect(arena.strandedBytes == 0)
    let more = try store(Self.slab, bob, arena)
    #expect(arena.strandedBytes == Self.slab)
    withExtendedLifetime((held, more, shares)) {}
  }

  @Test("drops one owner's companions of all slabs")
  func dropsCompanions() throws {
    final class Registration: Sendable {}
    let arena = try makeArena(slabs: 2)
    let blocks = [try store(64, alice, arena), try store(64, bob, arena)]
    let owner = ObjectIdentifier(arena)
    let before = blocks.map { $0.slab.companion(of: owner) { Registration() } }
    arena.dropCompanions(of: owner)
    let after = blocks.map { $0.slab.companion(of: owner) { Registration() } }
    #expect(zip(before, after).allSatisfy { $0 !== $1 })
  }
}

/// The bytes of a mapping that lives as long as this value.
private struct MappedSlab: RandomAccessCollection {
  let view: SharedView

  var startIndex: Int { 0 }
  var endIndex: Int { view.byteCount }
  subscript(index: Int) -> UInt8 { withExtendedLifetime(view) { view.bytes[index] } }
}

@Suite("A shared window")
struct SharedWindowTests {
  /// Writes as a client does that has the window mapped.
  private func fill(_ window: SharedWindow, _ byte: (Int) -> UInt8) throws {
    let view = try SharedView(
      mapping: #require(window.openForWriting()), byteCount: window.byteCount, writable: true)
    withExtendedLifetime(view) {
      for index in 0..<window.byteCount { view.writableBytes[index] = byte(index) }
    }
  }

  private func copy(_ range: Range<Int>, of window: SharedWindow) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0xEE, count: range.count)
    let done = bytes.withUnsafeMutableBytes { room in
      room.baseAddress.map { window.copy(range, to: $0) } ?? true
    }
    return done ? bytes : nil
  }

  @Test("is whole pages, and shows what the client wrote")
  func copiesWhatWasWritten() throws {
    let window = try SharedWindow(byteCount: 5000)
    #expect(window.byteCount == 8192)
    try fill(window) { UInt8($0 % 251) }
    #expect(copy(0..<8192, of: window) == (0..<8192).map { UInt8($0 % 251) })
    #expect(copy(4095..<4098, of: window) == [4095, 4096, 4097].map { UInt8($0 % 251) })
    #expect(copy(8192..<8192, of: window) == [])
  }

  @Test("cannot be made shorter or longer, nor sealed against its reader")
  func keepsItsSize() throws {
    let window = try SharedWindow(byteCount: 8192)
    let number = try #require(window.openForWriting())
    defer { close(number) }
    #expect(ftruncate(number, 4096) != 0)
    #expect(ftruncate(number, 16384) != 0)
    #expect(GNU.fallocate(number, 0, 8192, 4096) != 0)
    // F_ADD_SEALS with F_SEAL_WRITE.
    #expect(fcntl(number, 1033, 8) != 0)
  }

  @Test("reads as zeros where the client punched holes")
  func survivesHoles() throws {
    let window = try SharedWindow(byteCount: 3 * 4096)
    let number = try #require(window.openForWriting())
    defer { close(number) }
    try fill(window) { _ in 5 }
    #expect(GNU.fallocate(number, 3, 4096, 4096) == 0)
    let bytes = try #require(copy(0..<(3 * 4096), of: window))
    #expect(bytes.filter { $0 == 0 }.count == 4096)
    #expect(bytes.filter { $0 == 5 }.count == 2 * 4096)
  }

  @Test("belongs to one client: another window is other memory")
  func windowsAreApart() throws {
    let windows = try (0..<2).map { _ in try SharedWindow(byteCount: 4096) }
    try fill(windows[0]) { _ in 9 }
    #expect(copy(0..<1, of: windows[0]) == [9])
    #expect(copy(0..<1, of: windows[1]) == [0])
  }
}
