import KDNCore
import KDNWire
import Testing

@testable import KDNClient

@Suite("A GET by shared memory into the caller's buffers")
struct SharedGetTests {
  private let script = SlabScript()

  private func get(
    _ connection: Connection, capacities: [Int], selection: GetRequest.Selection = .whole
  ) throws -> (results: [GetResult], buffers: [[UInt8]]) {
    let items = try capacities.indices.map {
      GetRequest.Item(key: try opaqueKey(UInt8($0 + 1)), selection: selection)
    }
    let memory = capacities.map {
      UnsafeMutableRawBufferPointer.allocate(byteCount: $0, alignment: 64)
    }
    defer { for buffer in memory { buffer.deallocate() } }
    for buffer in memory { buffer.initializeMemory(as: UInt8.self, repeating: 0xEE) }
    let results = try connection.get(items, into: memory)
    return (results, memory.map { Array($0) })
  }

  /// Serves GETs by `answers` in turn; an array of bytes is an inline answer.
  private func serve(
    _ server: ScriptedServer, _ answers: [Said], heard: Heard, mapping: Bool = true
  ) throws {
    let memory = try PassedMemory(script.content, byteCount: SlabScript.slabBytes)
    server.serve { frame in
      heard.note(frame.request.operation)
      switch frame.request {
      case .get: return answers[heard.count(.get) - 1]
      case .mapSlab where mapping:
        let answer = MapSlabResponse(byteCount: SlabScript.slabBytes)
        return .answer(.mapSlab(answer), frame.id, passing: memory.descriptor)
      case .mapSlab: return .refusal(.mapSlab, frame.id, .busy)
      case .release: return .answer(.release, frame.id)
      default: return .answer(.exists(ExistsResponse(present: Bitmap(count: 0))), frame.id)
      }
    }
  }

  @Test(
    "copies each hit, drops what has no room, and gives the lease back", arguments: [true, false])
  func copies(verifies: Bool) throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    connection.verifies = verifies
    let heard = Heard()
    let hits = [[0..<20_000], [30_000..<60_000], [20_000..<30_000]]
    let answer = script.answer(hits.map { script.hit($0) }, hits)
    try serve(server, [.answer(answer, 2)], heard: heard)
    let (results, buffers) = try get(connection, capacities: [20_000, 29_999, 16_384])
    #expect(results[0].bytes == 20_000)
    #expect(results[1] == .noRoom(bytes: 30_000))
    #expect(buffers[0] == Array(script.content[0..<20_000]))
    #expect(buffers[1].allSatisfy { $0 == 0xEE })
    #expect(Array(buffers[2][..<10_000]) == Array(script.content[20_000..<30_000]))
    #expect(buffers[2][10_000...].allSatisfy { $0 == 0xEE })
    try Client(connection).ping()
    #expect(heard.count(.mapSlab) == 1)
    #expect(heard.count(.release) == 1)
  }

  @Test("is corrupt where the copy is not what was announced")
  func corrupt() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let hit = [0..<20_000]
    let answer = script.answer([script.hit(hit, wrong: true)], [hit])
    try serve(server, [.answer(answer, 2)], heard: Heard())
    #expect(try get(connection, capacities: [20_000]).results == [.miss(.corrupt)])
    #expect(connection.isOpen)
  }

  @Test("asks again for what was beyond the credit, and in the stream for what alone is beyond")
  func credit() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let heard = Heard()
    let beyond = GetDescriptor(miss: .overCredit)
    let large = pattern(40_000, seed: 4)
    let first = script.answer([script.hit([0..<100]), beyond, beyond], [[0..<100]], lease: 1)
    let second = script.answer([script.hit([100..<200]), beyond], [[100..<200]], lease: 2)
    let third = Response.get(GetResponse(descriptors: [beyond], inPlace: .empty))
    // HELLO 1, GET 2, MAP_SLAB 3, RELEASE 4, GET 5, RELEASE 6, GET 7, GET 8.
    try serve(
      server,
      [
        .answer(first, 2), .answer(second, 5), .answer(third, 7),
        Said(pieces: [.bytes(Frames.get([Frames.hit(large)], id: 8, payload: large))]),
      ], heard: heard)
    let (results, buffers) = try get(connection, capacities: [20_000, 20_000, 40_000])
    #expect(results.map(\.bytes) == [100, 100, 40_000])
    #expect(Array(buffers[1][..<100]) == Array(script.content[100..<200]))
    #expect(buffers[2] == large)
    #expect(heard.count(.release) == 2)
  }

  @Test("comes in the stream where the slab cannot be mapped")
  func unmapped() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let bytes = pattern(20_000, seed: 9)
    let hit = [0..<20_000]
    try serve(
      server,
      [
        .answer(script.answer([script.hit(hit)], [hit]), 2),
        Said(pieces: [.bytes(Frames.get([Frames.hit(bytes)], id: 5, payload: bytes))]),
      ], heard: Heard(), mapping: false)
    let (results, buffers) = try get(connection, capacities: [20_000])
    #expect(results.map(\.bytes) == [20_000])
    #expect(buffers[0] == bytes)
  }

  @Test("of few bytes comes in the stream")
  func small() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let bytes = pattern(900)
    server.say(Frames.get([Frames.hit(bytes)], payload: bytes))
    #expect(try get(connection, capacities: [16_384]).results.map(\.bytes) == [900])
  }
}
