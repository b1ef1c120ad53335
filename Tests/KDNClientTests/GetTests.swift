import KDNCore
import KDNWire
import Testing

@testable import KDNClient

@Suite("A GET")
struct GetTests {
  /// Fetches whole objects into buffers of the given sizes.
  private func get(
    _ connection: Connection, capacities: [Int], selection: GetRequest.Selection = .whole,
    flags: GetRequest.Flags = []
  ) throws -> (results: [GetResult], buffers: [[UInt8]]) {
    let items = try capacities.indices.map {
      GetRequest.Item(key: try opaqueKey(UInt8($0 + 1)), selection: selection)
    }
    let memory = capacities.map {
      UnsafeMutableRawBufferPointer.allocate(byteCount: $0, alignment: 64)
    }
    defer { for buffer in memory { buffer.deallocate() } }
    for buffer in memory { buffer.initializeMemory(as: UInt8.self, repeating: 0xEE) }
    let results = try connection.get(items, into: memory, flags: flags)
    return (results, memory.map { Array($0) })
  }

  @Test("puts the bytes of each hit into its own buffer", arguments: [true, false])
  func severalItems(verifies: Bool) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    connection.verifies = verifies
    let first = pattern(5_000)
    let third = pattern(900, seed: 2)
    server.say(
      Frames.get(
        [Frames.hit(first), GetDescriptor(miss: .evicted), Frames.hit(third)],
        payload: first + third))
    let (results, buffers) = try get(connection, capacities: [5_000, 64, 1_000])
    #expect(
      results == [
        .hit(bytes: 5_000, objectChecksum: Checksum(of: first)), .miss(.evicted),
        .hit(bytes: 900, objectChecksum: Checksum(of: third)),
      ])
    #expect(buffers[0] == first)
    #expect(Array(buffers[2][..<900]) == third)
    #expect(buffers[2][900...].allSatisfy { $0 == 0xEE })
  }

  @Test("keeps the bytes of a later item when the first is a miss", arguments: [true, false])
  func missFirst(verifies: Bool) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    connection.verifies = verifies
    let bytes = pattern(40_000)
    server.say(
      Frames.get([GetDescriptor(miss: .neverStored), Frames.hit(bytes)], payload: bytes))
    let (results, buffers) = try get(connection, capacities: [50_000, 40_000])
    #expect(
      results == [.miss(.neverStored), .hit(bytes: 40_000, objectChecksum: Checksum(of: bytes))])
    #expect(buffers[1] == bytes)
  }

  @Test("joins the frames of a payload that comes in fragments", arguments: [1, 63, 1_000, 70_000])
  func fragments(size: Int) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let first = pattern(size == 1 ? 40 : 100_000)
    let second = pattern(77, seed: 5)
    let all = first + second
    var frames: [[UInt8]] = []
    for start in stride(from: 0, to: all.count, by: size) {
      let piece = Array(all[start..<min(start + size, all.count)])
      let more = start + size < all.count
      frames.append(
        start == 0
          ? Frames.get([Frames.hit(first), Frames.hit(second)], more: more, payload: piece)
          : Frames.continuation(id: 2, more: more, payload: piece))
    }
    server.sayFromThread(frames)
    let (results, buffers) = try get(connection, capacities: [first.count, 100])
    #expect(results.map(\.bytes) == [first.count, 77])
    #expect(buffers[0] == first)
    #expect(Array(buffers[1][..<77]) == second)
  }

  @Test("takes an answer that drips in byte by byte")
  func drips() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(300)
    let frame = Frames.get([Frames.hit(bytes)], payload: bytes)
    server.sayFromThread(frame.map { [$0] })
    let (results, buffers) = try get(connection, capacities: [300])
    #expect(results == [.hit(bytes: 300, objectChecksum: Checksum(of: bytes))])
    #expect(buffers[0] == bytes)
  }

  @Test("takes an object of many megabytes", arguments: [true, false])
  func large(verifies: Bool) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    connection.verifies = verifies
    let bytes = pattern(9_000_001)
    let frame = 4 << 20
    server.sayFromThread([
      Frames.get([Frames.hit(bytes)], more: true, payload: Array(bytes[..<frame])),
      Frames.continuation(id: 2, more: true, payload: Array(bytes[frame..<2 * frame])),
      Frames.continuation(id: 2, more: false, payload: Array(bytes[(2 * frame)...])),
    ])
    let (results, buffers) = try get(connection, capacities: [bytes.count])
    #expect(results == [.hit(bytes: bytes.count, objectChecksum: Checksum(of: bytes))])
    #expect(buffers[0] == bytes)
  }

  @Test("is a miss with cause corrupt when one bit of the payload is wrong")
  func corrupt() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(10_000)
    var wrong = bytes
    wrong[9_999] ^= 1
    let good = pattern(50, seed: 3)
    server.say(Frames.get([Frames.hit(bytes), Frames.hit(good)], payload: wrong + good))
    let (results, _) = try get(connection, capacities: [10_000, 50])
    #expect(results == [.miss(.corrupt), .hit(bytes: 50, objectChecksum: Checksum(of: good))])
    #expect(connection.isOpen)
  }

  @Test("of a whole object is corrupt when its length or checksum is not the stored one")
  func contradictions() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(100)
    let checksum = Checksum(of: bytes)
    let shorter = GetDescriptor(
      objectBytes: 101, sentBytes: 100, objectChecksum: checksum, sentChecksum: checksum)
    let other = GetDescriptor(
      objectBytes: 100, sentBytes: 100, objectChecksum: Checksum(5), sentChecksum: checksum)
    server.say(Frames.get([shorter, other], payload: bytes + bytes))
    #expect(
      try get(connection, capacities: [100, 100]).results == [.miss(.corrupt), .miss(.corrupt)])
  }

  @Test("of ranges is checked against their length and the checksum of what was sent")
  func ranges() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(30)
    let descriptor = GetDescriptor(
      objectBytes: 100, sentBytes: 30, objectChecksum: Checksum(5),
      sentChecksum: Checksum(of: bytes))
    server.say(Frames.get([descriptor], id: 2, payload: bytes))
    server.say(Frames.get([descriptor], id: 3, payload: bytes))
    let right = try get(
      connection, capacities: [30], selection: .ranges([10..<20, 50..<70])
    ).results
    let wrong = try get(connection, capacities: [31], selection: .ranges([10..<41])).results
    #expect(right == [.hit(bytes: 30, objectBytes: 100, objectChecksum: Checksum(5))])
    #expect(wrong == [.miss(.corrupt)])
  }

  @Test("drops bytes that do not fit their buffer and goes on behind them")
  func noRoom() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let large = pattern(150_000)
    let small = pattern(200, seed: 8)
    server.sayFromThread([
      Frames.get([Frames.hit(large), Frames.hit(small)], payload: large + small)
    ])
    let (results, buffers) = try get(connection, capacities: [1_000, 200])
    #expect(results[0] == .noRoom(bytes: 150_000))
    #expect(results[1] == .hit(bytes: 200, objectChecksum: Checksum(of: small)))
    #expect(buffers[1] == small)
  }

  @Test("tells the server not to take checksums when nobody checks them", arguments: [true, false])
  func unverified(verifies: Bool) throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    connection.verifies = verifies
    server.say(Frames.get([GetDescriptor(miss: .expired)], payload: []))
    _ = try get(connection, capacities: [10])
    var reader = ByteReader(try server.hearFrame().body)
    let request = try GetRequest(from: &reader, limits: Limits())
    #expect(request.flags.contains(.unverified) == !verifies)
  }

  @Test("that is refused leaves the connection usable, whatever was guessed of the answer's shape")
  func refused() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(400)
    server.say(
      Frames.error(.get, id: 2, .busy) + Frames.get([Frames.hit(bytes)], id: 3, payload: bytes))
    let error = failure { try get(connection, capacities: [1 << 20]) }
    guard case .refused(.busy, let body) = error else {
      Issue.record("not refused: \(String(describing: error))")
      return
    }
    #expect(body.message == "said by the script")
    #expect(try get(connection, capacities: [400]).buffers[0] == bytes)
  }

  @Test("that is refused after a part of its payload is refused")
  func refusedLate() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    let bytes = pattern(400)
    server.say(
      Frames.get([Frames.hit(bytes)], more: true, payload: Array(bytes[..<100]))
        + Frames.error(.get, id: 2, .internal))
    guard case .refused(.internal, _) = failure({ try get(connection, capacities: [400]) }) else {
      Issue.record("not refused")
      return
    }
    #expect(connection.isOpen)
  }

  @Test("of nothing, or of more keys than the server takes, is not sent")
  func unsendable() throws {
    let server = ScriptedServer()
    var limits = Limits()
    limits.maxKeysPerRequest = 2
    let connection = try server.greeted(limits: limits)
    for count in [0, 3] {
      let capacities = [Int](repeating: 8, count: count)
      guard case .unsendable(let fault) = failure({ try get(connection, capacities: capacities) })
      else {
        Issue.record("sent \(count) items")
        continue
      }
      #expect(fault.field == "count")
    }
    #expect(connection.isOpen)
  }
}
