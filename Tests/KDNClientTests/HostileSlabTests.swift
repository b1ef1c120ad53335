import Glibc
import KDNCore
import KDNWire
import Testing

@testable import KDNClient

/// What a server does that no server may do, and the field that the client names.
enum SlabLie: String, CaseIterable, Sendable {
  case beyondTheSlab
  case startsBehindTheSlab
  case otherLength
  case noDescriptor
  case twoDescriptors
  case refusalWithDescriptor
  case shorterFile
  case fileThatCanShrink
  case absurdLength

  var field: String {
    switch self {
    case .beyondTheSlab, .startsBehindTheSlab: "offset"
    case .otherLength: "sentBytes"
    case .noDescriptor, .twoDescriptors, .refusalWithDescriptor: "descriptors"
    case .shorterFile, .fileThatCanShrink: "descriptor"
    case .absurdLength: "byteCount"
    }
  }
}

@Suite("A server that lies about shared memory")
struct HostileSlabTests {
  private let script = SlabScript()

  private func get(_ lie: SlabLie) -> Response {
    let size = SlabScript.slabBytes
    switch lie {
    case .beyondTheSlab: return script.answer([script.hit([0..<100])], [[size - 99..<size + 1]])
    case .startsBehindTheSlab:
      return script.answer([script.hit([0..<100])], [[Int.max - 100..<Int.max]])
    case .otherLength:
      let descriptor = GetDescriptor(
        objectBytes: 200, sentBytes: 100, objectChecksum: Checksum(1), sentChecksum: Checksum(1))
      return script.answer([descriptor], [[0..<100]])
    default: return script.answer([script.hit([0..<100])], [[0..<100]])
    }
  }

  private static func map(_ lie: SlabLie, _ id: UInt64, _ memory: PassedMemory) -> Said {
    let size = SlabScript.slabBytes
    func answer(_ byteCount: Int) -> [UInt8] {
      Frames.answer(.mapSlab(MapSlabResponse(byteCount: byteCount)), id: id)
    }
    switch lie {
    case .noDescriptor: return Said(pieces: [.bytes(answer(size))])
    case .twoDescriptors:
      let frame = answer(size)
      return Said(pieces: [
        .passing([frame[0]], memory.descriptor), .passing(Array(frame[1...]), memory.descriptor),
      ])
    case .refusalWithDescriptor:
      return Said(pieces: [.passing(Frames.error(.mapSlab, id: id, .busy), memory.descriptor)])
    case .shorterFile: return Said(pieces: [.passing(answer(2 * size), memory.descriptor)])
    case .fileThatCanShrink:
      return Said(pieces: [.passing(answer(size), PassedMemory.unsealed(byteCount: size))])
    case .absurdLength: return Said(pieces: [.passing(answer(1 << 50), memory.descriptor)])
    case .beyondTheSlab, .startsBehindTheSlab, .otherLength:
      return Said(pieces: [.passing(answer(size), memory.descriptor)])
    }
  }

  @Test(
    "costs the connection, and no byte is shown or copied", arguments: SlabLie.allCases,
    [true, false])
  func lies(lie: SlabLie, inPlace: Bool) throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let memory = try PassedMemory(script.content, byteCount: SlabScript.slabBytes)
    let answer = get(lie)
    server.serve { frame in
      if case .get = frame.request { return .answer(answer, frame.id) }
      return Self.map(lie, frame.id, memory)
    }
    let item = GetRequest.Item(key: try opaqueKey(1))
    var room = [UInt8](repeating: 0xEE, count: 1 << 20)
    let error = room.withUnsafeMutableBytes { buffer in
      failure {
        if inPlace {
          _ = try connection.getInPlace([item])
        } else {
          _ = try connection.get([item], into: [buffer])
        }
      }
    }
    guard case .protocolFault(let fault) = error else {
      Issue.record("taken: \(String(describing: error))")
      return
    }
    #expect(fault.fault.field == lie.field)
    #expect(!connection.isOpen)
    #expect(room.allSatisfy { $0 == 0xEE })
  }

  @Test("of a GET that was to be in place, and comes in the stream, costs the connection")
  func otherPlace() throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let bytes = pattern(100)
    server.say(Frames.get([Frames.hit(bytes)], payload: bytes))
    let item = GetRequest.Item(key: try opaqueKey(1))
    guard case .protocolFault(let fault) = failure({ try connection.getInPlace([item]) }) else {
      Issue.record("taken")
      return
    }
    #expect(fault.fault.field == "place")
  }

  @Test("of a window longer than was asked for costs the connection", arguments: [4095, 9 << 20])
  func window(byteCount: Int) throws {
    let server = ScriptedServer()
    let connection = try server.greetedInMemory()
    let memory = try PassedMemory([], byteCount: 16 << 20)
    server.serve { frame in
      .answer(
        .openWindow(OpenWindowResponse(byteCount: byteCount)), frame.id,
        passing: memory.descriptor)
    }
    let bytes = pattern(100_000)
    let facts = PutBeginRequest(key: try opaqueKey(1), totalBytes: bytes.count)
    let error = bytes.withUnsafeBytes { bytes in
      failure { try connection.put(PutItem(facts, pieces: [bytes])) }
    }
    guard case .protocolFault(let fault) = error else {
      Issue.record("taken: \(String(describing: error))")
      return
    }
    #expect(fault.fault.field == "byteCount")
  }
}
