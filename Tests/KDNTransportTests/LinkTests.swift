import Glibc
import KDNMemory
import Testing

@testable import KDNTransport

@Suite("A link")
struct LinkTests {
  private func makeLink() throws -> (link: Link, pair: SocketPair) {
    let pair = try SocketPair()
    return (Link(owning: dup(pair.first)), pair)
  }

  @Test("sends urgent messages ahead of ordinary ones that have not begun")
  func urgentPasses() throws {
    let (link, pair) = try makeLink()
    link.send([1, 1], isUrgent: false)
    link.send([2], isUrgent: true)
    #expect(link.flush())
    #expect(pair.read(from: pair.second) == [2, 1, 1])
    #expect(link.queuedBytes == 0)
  }

  @Test("never lets an urgent message into the middle of one that has begun")
  func messagesAreWhole() throws {
    let (link, pair) = try makeLink()
    let arena = try Arena.forTests()
    let size = 8 << 20
    let block = try makeBlock(7, count: size, in: arena)
    let lease = block.lease()
    link.beginMessage([9])
    link.sendBorrowed(UnsafeRawBufferPointer(start: block.base, count: size), endsMessage: true)
    link.keep(lease)
    #expect(link.flush())
    #expect(link.queuedBytes > 0, "the socket buffer took everything: the test needs more bytes")
    link.send([2, 2], isUrgent: true)
    link.send([3], isUrgent: false)
    var received: [UInt8] = []
    while received.count < size + 4 {
      received += pair.read(from: pair.second)
      #expect(link.flush())
    }
    #expect(received.first == 9)
    #expect(received[1...size].allSatisfy { $0 == 7 })
    #expect(Array(received[(size + 1)...]) == [2, 2, 3])
  }

  @Test("holds a lease until the last byte before it is out")
  func leasesEndWithTheirBytes() throws {
    let (link, pair) = try makeLink()
    let arena = try Arena.forTests()
    let size = 8 << 20
    let block = try makeBlock(5, count: size, in: arena)
    link.sendBorrowed(UnsafeRawBufferPointer(start: block.base, count: size), endsMessage: true)
    link.keep(block.lease())
    #expect(link.flush())
    #expect(block.isLeased)
    var count = 0
    while count < size {
      count += pair.read(from: pair.second).count
      #expect(link.flush())
    }
    #expect(!block.isLeased)
  }

  @Test("drops its leases when it goes away with bytes unsent")
  func leasesEndWithTheLink() throws {
    let arena = try Arena.forTests()
    let block = try makeBlock(5, count: 8 << 20, in: arena)
    do {
      let (link, pair) = try makeLink()
      link.sendBorrowed(
        UnsafeRawBufferPointer(start: block.base, count: 8 << 20), endsMessage: true)
      link.keep(block.lease())
      #expect(link.flush())
      #expect(block.isLeased)
      withExtendedLifetime(pair) {}
    }
    #expect(!block.isLeased)
  }

  @Test("receives into the first place, then into the second")
  func receivesScattered() throws {
    let (link, pair) = try makeLink()
    pair.write([1, 2, 3, 4, 5], to: pair.second)
    var first = [UInt8](repeating: 0, count: 3)
    var second = [UInt8](repeating: 0, count: 8)
    let reception = first.withUnsafeMutableBytes { first in
      second.withUnsafeMutableBytes { link.receive(into: first, then: $0) }
    }
    #expect(reception == .bytes(5))
    #expect(first == [1, 2, 3])
    #expect(second.prefix(2) == [4, 5])
  }

  @Test("says when nothing is there, and when the other side is gone")
  func saysWhatIsMissing() throws {
    let (link, pair) = try makeLink()
    var buffer = [UInt8](repeating: 0, count: 8)
    #expect(buffer.withUnsafeMutableBytes { link.receive(into: $0) } == .wouldBlock)
    shutdown(pair.second, Int32(SHUT_RDWR))
    #expect(buffer.withUnsafeMutableBytes { link.receive(into: $0) } == .ended)
    link.send([1], isUrgent: true)
    #expect(!link.flush())
  }

  @Test("sends more pieces than one vectored write holds, in order")
  func sendsManyPieces() throws {
    let (link, pair) = try makeLink()
    let pieces = (0..<300).map { [UInt8(truncatingIfNeeded: $0), 255] }
    for piece in pieces { link.send(piece, isUrgent: false) }
    #expect(link.flush())
    #expect(pair.read(from: pair.second) == pieces.flatMap { $0 })
  }
}

private struct NoRoom: Error {}

/// A block of `count` times `byte`.
func makeBlock(_ byte: UInt8, count: Int, in arena: Arena) throws -> Block {
  guard let reservation = arena.reserve(byteCount: count, owner: ArenaOwner(number: 1)) else {
    throw NoRoom()
  }
  reservation.base.initializeMemory(as: UInt8.self, repeating: byte, count: count)
  return reservation.seal()
}

extension Arena {
  /// 32 MiB in slabs of 16 MiB, with nothing that depends on the machine.
  static func forTests() throws -> Arena {
    try Arena(
      ArenaConfiguration(
        capacityBytes: 32 << 20, slabBytes: 16 << 20, hugePages: .off, lockMemory: .off,
        numa: .off, prefault: false))
  }
}
