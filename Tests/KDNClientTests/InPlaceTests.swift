import Glibc
import KDNCore
import KDNWire
import Synchronization
import Testing

@testable import KDNClient

/// One slab with objects in it, and what the server says of them.
struct SlabScript: Sendable {
  static let slabID: UInt64 = 77
  static let slabBytes = 1 << 16
  let content = pattern(slabBytes)
  var leaseMilliseconds: UInt32 = 60_000

  func hit(_ extents: [Range<Int>], wrong: Bool = false) -> GetDescriptor {
    let bytes = extents.flatMap { content[$0] }
    let checksum = wrong ? Checksum(5) : Checksum(of: bytes)
    return GetDescriptor(
      objectBytes: bytes.count, sentBytes: bytes.count, objectChecksum: checksum,
      sentChecksum: checksum)
  }

  func answer(
    _ descriptors: [GetDescriptor], _ hits: [[Range<Int>]], lease: UInt64 = 1
  ) -> Response {
    let place = InPlaceAnswer(
      leaseID: InPlaceAnswer.leaseBit | lease, leaseMilliseconds: leaseMilliseconds,
      hits: hits.map { SlabExtents(slabID: Self.slabID, extents: $0) })
    return .get(GetResponse(descriptors: descriptors, inPlace: place))
  }
}

@Suite("A GET in place")
struct InPlaceTests {
  private let script = SlabScript()

  private func items(_ count: Int) throws -> [GetRequest.Item] {
    try (1...count).map { GetRequest.Item(key: try opaqueKey(UInt8($0))) }
  }

  private func bytes(_ result: InPlaceResult, _ index: Int) -> [UInt8] {
    result.views(index).flatMap { Array($0) }
  }

  /// Serves each GET with `answers`, one after the other, and the slab to whoever maps it.
  private func serve(
    _ server: ScriptedServer, _ answers: [Response], heard: Heard = Heard()
  ) throws {
    let memory = try PassedMemory(script.content, byteCount: SlabScript.slabBytes)
    server.serve { frame in
      heard.note(frame.request.operation)
      switch frame.request {
      case .get: return .answer(answers[heard.count(.get) - 1], frame.id)
      case .mapSlab:
        let answer = MapSlabResponse(byteCount: SlabScript.slabBytes)
        return .answer(.mapSlab(answer), frame.id, passing: memory.descriptor)
      case .release: return .answer(.release, frame.id)
      default: return .answer(.exists(ExistsResponse(present: Bitmap(count: 0))), frame.id)
      }
    }
  }

  @Test("shows each hit where it lies, and maps a slab once", arguments: [true, false])
  func views(verifies: Bool) throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    connection.verifies = verifies
    let heard = Heard()
    let answer = script.answer(
      [script.hit([100..<5_000]), GetDescriptor(miss: .evicted), script.hit([8_192..<65_536])],
      [[100..<5_000], [8_192..<65_536]])
    try serve(server, [answer, answer], heard: heard)
    for _ in 0..<2 {
      let result = try connection.getInPlace(items(3))
      #expect(result.results.map(\.bytes) == [4_900, 0, 57_344])
      #expect(result.results[1] == .miss(.evicted))
      #expect(bytes(result, 0) == Array(script.content[100..<5_000]))
      #expect(result.views(1).isEmpty)
      #expect(bytes(result, 2) == Array(script.content[8_192..<65_536]))
      #expect(connection.holds(result))
      try connection.release(result)
      try connection.release(result)
      #expect(!connection.holds(result))
    }
    try Client(connection).ping()
    #expect(heard.count(.mapSlab) == 1)
    #expect(heard.count(.release) == 2)
  }

  @Test("gives the pieces of a selection in order")
  func pieces() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let extents = [900..<1_000, 10..<20]
    let sum = Checksum(of: Array(script.content[900..<1_000]) + Array(script.content[10..<20]))
    let descriptor = GetDescriptor(
      objectBytes: 5_000, sentBytes: 110, objectChecksum: Checksum(3), sentChecksum: sum)
    try serve(server, [script.answer([descriptor], [extents])])
    let item = GetRequest.Item(key: try opaqueKey(1), selection: .ranges([0..<100, 200..<210]))
    let result = try connection.getInPlace([item])
    #expect(result.results == [.hit(bytes: 110, objectBytes: 5_000, objectChecksum: Checksum(3))])
    #expect(result.views(0).map { Array($0) } == extents.map { Array(script.content[$0]) })
  }

  @Test("says corrupt, and shows nothing, where the bytes are not those announced")
  func corrupt() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let extents = [[0..<100], [200..<300]]
    let answer = script.answer(
      [script.hit(extents[0], wrong: true), script.hit(extents[1])], extents)
    try serve(server, [answer])
    let result = try connection.getInPlace(items(2))
    #expect(result.results[0] == .miss(.corrupt))
    #expect(result.views(0).isEmpty)
    #expect(bytes(result, 1) == Array(script.content[200..<300]))
    #expect(connection.isOpen)
  }

  @Test("counts the lease from before the request was sent, not from the answer")
  func leaseTime() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let heardAt = Guarded(Instant.never)
    let memory = try PassedMemory(script.content, byteCount: SlabScript.slabBytes)
    let answer = script.answer([script.hit([0..<64])], [[0..<64]])
    server.serve { frame in
      guard case .get = frame.request else {
        let map = MapSlabResponse(byteCount: SlabScript.slabBytes)
        return .answer(.mapSlab(map), frame.id, passing: memory.descriptor)
      }
      heardAt.withLock { $0 = SystemClock().now() }
      return .answer(answer, frame.id)
    }
    let before = SystemClock().now()
    let result = try connection.getInPlace(items(1))
    #expect(result.expiresAt >= before.advanced(milliseconds: 60_000))
    #expect(result.expiresAt <= heardAt.withLock { $0 }.advanced(milliseconds: 60_000))
    let last = Instant(nanoseconds: result.expiresAt.nanoseconds - 1)
    #expect(result.isValid(at: last))
    #expect(!result.isValid(at: result.expiresAt))
  }

  @Test("is no hit if the lease was over before the bytes could be checked")
  func lateAnswer() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    var brief = script
    brief.leaseMilliseconds = 1
    let memory = try PassedMemory(script.content, byteCount: SlabScript.slabBytes)
    let answer = brief.answer([script.hit([0..<64])], [[0..<64]])
    server.serve { frame in
      guard case .get = frame.request else {
        let map = MapSlabResponse(byteCount: SlabScript.slabBytes)
        return .answer(.mapSlab(map), frame.id, passing: memory.descriptor)
      }
      let heardAt = SystemClock().now()
      while SystemClock().now() < heardAt.advanced(milliseconds: 2) {}
      return .answer(answer, frame.id)
    }
    let result = try connection.getInPlace(items(1))
    #expect(result.results == [.miss(.overDeadline)])
    #expect(result.views(0).isEmpty)
    #expect(!connection.holds(result))
  }

  @Test("holds nothing once the server has hung up, or this side has closed")
  func hangUp() throws {
    for serverEnds in [true, false] {
      let server = ScriptedServer()
      let connection = try server.greetedInMemory()
      try serve(server, [script.answer([script.hit([0..<64])], [[0..<64]])])
      let result = try connection.getInPlace(items(1))
      #expect(connection.holds(result))
      if serverEnds { server.breakOff() } else { connection.close() }
      #expect(!connection.holds(result))
      #expect(serverEnds || !result.isValid(at: Instant(nanoseconds: 0)))
      #expect(bytes(result, 0) == Array(script.content[0..<64]))
    }
  }

  @Test("over another link is not sent")
  func otherLink() throws {
    let server = ScriptedServer()
    let connection = try server.greeted()
    guard case .unsendable(let fault) = failure({ try connection.getInPlace(try items(1)) }) else {
      Issue.record("sent")
      return
    }
    #expect(fault.field == "place")
    #expect(connection.isOpen)
  }
}

/// Counts what a scripted server has heard.
final class Heard: Sendable {
  private let operations = Guarded<[KDNWire.Operation]>([])

  func note(_ operation: KDNWire.Operation) { operations.withLock { $0.append(operation) } }

  func count(_ operation: KDNWire.Operation) -> Int {
    operations.withLock { $0.count { $0 == operation } }
  }
}
