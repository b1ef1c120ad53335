import Glibc
import KDNMemory
import Testing

@testable import KDNTransport

@Suite("A secured link")
struct TLSLinkTests {
  private struct NoRoom: Error {}

  private func makeBlock(count: Int, in arena: Arena) throws -> Block {
    guard let reservation = arena.reserve(byteCount: count, owner: ArenaOwner(number: 1)) else {
      throw NoRoom()
    }
    for index in 0..<count {
      reservation.base.storeBytes(of: Self.byte(index), toByteOffset: index, as: UInt8.self)
    }
    return reservation.seal()
  }

  /// A byte that tells its place, not the same in neighbouring records.
  private static func byte(_ index: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: index ^ index >> 8 ^ index >> 14)
  }

  @Test("sends urgent messages ahead of ordinary ones, all in one record")
  func sharesOneRecord() throws {
    let pair = try SecurePair().connect()
    pair.link.send([1, 1], isUrgent: false)
    pair.link.beginMessage([3])
    let tail: [UInt8] = [4, 5]
    tail.withUnsafeBytes { tail in
      pair.link.sendBorrowed(tail, endsMessage: true)
      pair.link.send([2], isUrgent: true)
      #expect(pair.link.flush())
    }
    let wire = pair.sockets.read(from: pair.sockets.second)
    // Front of 5 bytes, 6 bytes of data, their kind, and 16 bytes that prove them.
    #expect(wire.count == 5 + 6 + 1 + 16)
    #expect(wire.first == 0x17)
    #expect(pair.link.sentBytes == 6)
    #expect(pair.link.queuedBytes == 0)
  }

  @Test("delivers objects both ways at once through sockets that take little", arguments: [1, 8])
  func movesObjects(mebibytes: Int) throws {
    let sockets = try SocketPair()
    sockets.shrinkBuffers()
    let pair = try SecurePair(over: sockets).connect()
    let size = mebibytes << 20
    let arena = try Arena.forTests()
    let block = try makeBlock(count: size, in: arena)
    pair.link.beginMessage([9])
    pair.link.sendBorrowed(
      UnsafeRawBufferPointer(start: block.base, count: size), endsMessage: true)
    pair.link.keep(block.lease())
    pair.link.send([7, 7], isUrgent: false)
    #expect(pair.link.flush())
    #expect(block.isLeased)
    pair.link.send([8], isUrgent: true)

    var toLink: [UInt8] = []
    var toClient: [UInt8] = []
    let upload = (0..<size).map { Self.byte($0 + 5) }
    let sent = pair.clientSend(upload) {
      while let bytes = pair.receive(10_000) { toLink += bytes }
      toClient += pair.clientReceive(50_000)
      #expect(pair.link.flush())
    }
    #expect(sent)
    while toClient.count < size + 4 {
      toClient += pair.clientReceive(50_000)
      #expect(pair.link.flush())
    }
    while let bytes = pair.receive(100_000) { toLink += bytes }
    #expect(toLink == upload)
    #expect(toClient.first == 9)
    #expect((0..<size).allSatisfy { toClient[1 + $0] == Self.byte($0) })
    #expect(Array(toClient[(size + 1)...]) == [8, 7, 7])
    #expect(!block.isLeased)
    #expect(pair.link.sentBytes == UInt64(size + 4))
    #expect(pair.link.receivedBytes == UInt64(size))
  }

  @Test("never lets an urgent message pass a record that the socket did not take")
  func keepsStalledRecords() throws {
    let sockets = try SocketPair()
    sockets.shrinkBuffers()
    let pair = try SecurePair(over: sockets).connect()
    let count = 256 << 10
    let bytes = (0..<count).map(Self.byte)
    // Two messages, the first of pieces that are copied, the second sent from its place.
    for first in stride(from: 0, to: count, by: 1000) {
      pair.link.send(Array(bytes[first..<min(first + 1000, count)]), isUrgent: false)
    }
    bytes.withUnsafeBytes { place in
      pair.link.sendBorrowed(place, endsMessage: true)
      var received: [UInt8] = []
      var urgent = 0
      #expect(pair.link.flush())
      while received.count < 2 * count + urgent {
        // The socket is full at each of these moments.
        if urgent < 50 {
          pair.link.send([0xEE], isUrgent: true)
          urgent += 1
        }
        received += pair.clientReceive(20_000)
        #expect(pair.link.flush())
      }
      #expect(urgent == 50)
      // The second message is whole, wherever the urgent ones went.
      let begins = received.indices.filter {
        received[$0...].starts(with: bytes) && $0 >= count
      }
      #expect(begins.count == 1)
      let first = received[..<(begins.first ?? 0)]
      let others = received[((begins.first ?? 0) + count)...]
      #expect((first + others).filter { $0 != 0xEE } == bytes.filter { $0 != 0xEE })
    }
  }

  @Test("says when bytes wait inside that no event will tell of")
  func tellsOfBufferedInput() throws {
    let pair = try SecurePair().connect()
    #expect(pair.receive(1) == nil)
    #expect(!pair.link.hasBufferedInput)
    for byte: UInt8 in 1...3 { #expect(pair.clientSend([byte, byte, byte])) }
    #expect(pair.receive(2) == [1, 1])
    #expect(pair.link.hasBufferedInput)
    #expect(pair.receive(5) == [1, 2, 2, 2, 3])
    #expect(pair.link.hasBufferedInput)
    // Less than there was room for: the socket is empty, and so is the link.
    #expect(pair.receive(5) == [3, 3])
    #expect(!pair.link.hasBufferedInput)
    #expect(pair.receive(5) == nil)
  }

  @Test("receives into the first place, then into the second, across records")
  func receivesScattered() throws {
    let pair = try SecurePair().connect()
    #expect(pair.clientSend([1, 2, 3, 4]))
    #expect(pair.clientSend([5, 6]))
    var first = [UInt8](repeating: 0, count: 3)
    var second = [UInt8](repeating: 0, count: 8)
    let reception = first.withUnsafeMutableBytes { first in
      second.withUnsafeMutableBytes { pair.link.receive(into: first, then: $0) }
    }
    #expect(reception == .bytes(6))
    #expect(first == [1, 2, 3])
    #expect(second.prefix(3) == [4, 5, 6])
  }

  @Test("gives out nothing of a record that is not all there")
  func waitsForWholeRecords() throws {
    let pair = try SecurePair().connect()
    let aside = try SocketPair()
    let wire = try record(of: [1, 2, 3], pair, aside)
    pair.sockets.write(Array(wire.dropLast()), to: pair.sockets.second)
    #expect(pair.receive(8) == nil)
    #expect(!pair.link.hasBufferedInput, "nothing can be had before the rest has come")
    pair.sockets.write([wire[wire.count - 1]], to: pair.sockets.second)
    #expect(pair.receive(8) == [1, 2, 3])
  }

  @Test("ends when a byte was changed on the way, and gives out nothing of that record")
  func refusesForgery() throws {
    let pair = try SecurePair().connect()
    let aside = try SocketPair()
    var wire = try record(of: [1, 2, 3], pair, aside)
    wire[wire.count - 1] ^= 1
    pair.sockets.write(wire, to: pair.sockets.second)
    var buffer = [UInt8](repeating: 0, count: 8)
    #expect(buffer.withUnsafeMutableBytes { pair.link.receive(into: $0) } == .ended)
    #expect(pair.link.handshakeFailure.contains("mac"))
    #expect(buffer == [UInt8](repeating: 0, count: 8))
  }

  @Test("goes on over changes of key that either side asks for")
  func changesKeys() throws {
    let pair = try SecurePair().connect()
    for round: UInt8 in 0..<20 {
      #expect(pair.client.requestKeyUpdate())
      #expect(pair.clientSend([round, 1]))
      #expect(pair.receive(8) == [round, 1])
      if let channel = pair.link.channel { #expect(channel.requestKeyUpdate()) }
      pair.link.send([round, 2], isUrgent: true)
      #expect(pair.link.flush())
      #expect(pair.clientReceive() == [round, 2])
    }
  }

  @Test(
    "tells farewell from nothing, and an end without it is an end too", arguments: [true, false])
  func ends(politely: Bool) throws {
    let pair = try SecurePair().connect()
    #expect(pair.clientSend([1]))
    if politely {
      pair.client.sayGoodbye()
    } else {
      shutdown(pair.sockets.second, Int32(SHUT_RDWR))
    }
    var buffer = [UInt8](repeating: 0, count: 8)
    #expect(pair.receive(8) == [1])
    // The socket itself says nothing of a farewell: the link must.
    #expect(pair.link.hasBufferedInput)
    #expect(buffer.withUnsafeMutableBytes { pair.link.receive(into: $0) } == .ended)
    #expect(buffer.withUnsafeMutableBytes { pair.link.receive(into: $0) } == .ended)
    #expect(pair.link.handshakeFailure.isEmpty)
  }

  @Test("says farewell when it goes away")
  func saysGoodbye() throws {
    let sockets = try SocketPair()
    var pair: SecurePair? = try SecurePair(over: sockets).connect()
    let client = try #require(pair?.client)
    pair = nil
    var buffer = [UInt8](repeating: 0, count: 8)
    let nowhere = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    let step = buffer.withUnsafeMutableBytes { client.receive(into: $0, then: nowhere) }
    #expect(step == .ended)
    #expect(client.failure.isEmpty)
  }

  /// What the client puts on the wire for `bytes`, taken off it.
  private func record(
    of bytes: [UInt8], _ pair: SecurePair, _ aside: SocketPair
  ) throws -> [UInt8] {
    let kept = dup(pair.sockets.second)
    defer {
      dup2(kept, pair.sockets.second)
      close(kept)
    }
    // The client's descriptor leads elsewhere for a moment.
    dup2(aside.second, pair.sockets.second)
    try #require(pair.clientSend(bytes))
    return aside.read(from: aside.first)
  }
}
