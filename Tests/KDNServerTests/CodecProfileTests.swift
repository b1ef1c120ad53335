import Foundation
import KDNClient
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

/// Keeps what it is told to encode with; refuses profiles of kind 3.
private final class Adopter: ProfileAdopting {
  private let adopted = Guarded<[CodecProfileFacts]>([])

  var all: [CodecProfileFacts] { adopted.withLock { $0 } }

  func adopt(
    _ profile: [UInt8], _ facts: CodecProfileFacts, in namespace: Namespace
  ) throws(FieldFault) {
    guard facts.kind < 3 else {
      throw FieldFault("profile.basis", value: 3, limit: 2, "not today")
    }
    adopted.withLock { $0.append(facts) }
  }

  func forget(_ namespace: NamespaceName) { adopted.withLock { $0 = [] } }

  var loaded: (count: Int, bytes: Int) {
    adopted.withLock { ($0.count, $0.reduce(0) { $0 + $1.byteCount }) }
  }
}

@Suite("Profiles of codecs")
struct CodecProfileTests: ServerTesting {
  private let part = Part(firstLayer: 1, layerCount: 2, firstKVHead: 3, kvHeadCount: 4)

  /// Bytes that begin as a profile does.
  private func profile(
    kind: UInt8 = 1, layout: UInt8 = 7, size: Int = 4096, change: (inout [UInt8]) -> Void = { _ in }
  ) -> [UInt8] {
    var writer = ByteWriter()
    writer.put(contentsOf: "KDNF".utf8)
    writer.put(UInt16(1))
    writer.put(kind)
    writer.put(UInt8(0))
    writer.put(UInt64(size))
    writer.put(contentsOf: [UInt8](repeating: layout, count: 16))
    part.write(to: &writer)
    writer.put(UInt64(20_000))
    var all = writer.bytes + bytes(size - writer.count, seed: 3)
    change(&all)
    return all
  }

  /// The bytes are their own key.
  private func hash(_ bytes: [UInt8]) -> ChunkHash { HashChain.opaque(bytes) }

  private func store(
    _ client: Client, _ bytes: [UInt8], under hash: ChunkHash? = nil
  ) throws -> ChunkHash {
    let hash = hash ?? self.hash(bytes)
    let facts = PutBeginRequest(
      key: CodecProfileRequest.key(of: hash), totalBytes: bytes.count)
    #expect(try client.put(facts, bytes: bytes) == .published)
    return hash
  }

  private func fetch(
    _ client: Client, _ hash: ChunkHash, room: Int
  ) throws -> (GetResult, [UInt8]) {
    var bytes = [UInt8](repeating: 0, count: room)
    let result = try bytes.withUnsafeMutableBytes {
      try client.connection.getProfile(hash, into: $0)
    }
    return (result, Array(bytes[..<result.bytes]))
  }

  @Test(
    "come back as they were stored, in as many frames as they need", arguments: [100, 9_000_000])
  func bytesComeBack(size: Int) throws {
    let server = try makeServer()
    let client = try connect(server)
    let stored = bytes(size, seed: 5)
    let name = try store(client, stored)
    let (result, found) = try fetch(client, name, room: size)
    #expect(result.miss == nil && found == stored)
    let (small, _) = try fetch(client, name, room: 10)
    #expect(small == .noRoom(bytes: size))
    try client.ping()
    withExtendedLifetime(server) {}
  }

  @Test("that nobody stored are a miss to get and not found to use")
  func absent() throws {
    let server = try makeServer()
    let client = try connect(server)
    let name = hash([1])
    #expect(try fetch(client, name, room: 10).0.miss == .neverStored)
    let error = failure { _ = try client.connection.useProfile(name) }
    #expect(status(of: error) == .notFound)
    withExtendedLifetime(server) {}
  }

  @Test("are used once they are checked, listed by layout, and pinned")
  func use() throws {
    let server = try makeServer()
    let adopter = Adopter()
    server.context.profiles.setAdopter(adopter)
    let client = try connect(server)
    #expect(try client.connection.listProfiles().isEmpty)
    let first = try store(client, profile())
    let facts = try client.connection.useProfile(first)
    #expect(facts.hash == first && facts.kind == 1 && facts.byteCount == 4096)
    #expect(facts.part == part && facts.tokenCount == 20_000)
    #expect(adopter.all == [facts])
    #expect(try client.connection.listProfiles() == [facts])
    #expect(try client.connection.listProfiles(of: facts.layout) == [facts])
    let other = try store(client, profile(layout: 8))
    #expect(try client.connection.useProfile(other).layout != facts.layout)
    #expect(try client.connection.listProfiles().count == 2)
    #expect(try client.connection.listProfiles(of: facts.layout) == [facts])
    #expect(try numbers(client, "pool")["pins"] as? Int == 2)
    withExtendedLifetime(server) {}
  }

  @Test("replace the earlier one of their layout, part and kind")
  func replace() throws {
    let server = try makeServer()
    server.context.profiles.setAdopter(Adopter())
    let client = try connect(server)
    let old = try store(client, profile())
    let new = try store(client, profile(size: 5000))
    let wide = try store(client, profile(kind: 2))
    for name in [old, wide, new] { _ = try client.connection.useProfile(name) }
    #expect(try client.connection.listProfiles().map(\.hash) == [new, wide])
    withExtendedLifetime(server) {}
  }

  @Test("that are other bytes than their name says, or no profile, are refused by their field")
  func wrongBytes() throws {
    let server = try makeServer()
    let adopter = Adopter()
    server.context.profiles.setAdopter(adopter)
    let client = try connect(server)
    let cases: [(String, [UInt8], ChunkHash?)] = [
      ("profile", profile(), hash([9])),
      ("profile", Array(profile().prefix(63)), nil),
      ("profile.magic", profile { $0[3] = 0 }, nil),
      ("profile.version", profile { $0[4] = 2 }, nil),
      ("profile.kind", profile(kind: 4), nil),
      ("profile.kind", profile(kind: 0), nil),
      ("profile.reserved", profile { $0[7] = 1 }, nil),
      ("profile.byteCount", profile { $0[8] = 1 }, nil),
      ("profile.basis", profile(kind: 3), nil),
    ]
    for (field, bytes, name) in cases {
      let name = try store(client, bytes, under: name)
      guard
        case .refused(let status, let body) = failure({
          _ = try client.connection.useProfile(name)
        })
      else {
        Issue.record("\(field) was taken")
        continue
      }
      #expect(status == .badRequest)
      #expect(body.field == field)
    }
    #expect(adopter.all.isEmpty)
    #expect(try client.connection.listProfiles().isEmpty)
    withExtendedLifetime(server) {}
  }

  @Test("are in use up to a limit, beyond which none is loaded")
  func limit() throws {
    let server = try makeServer()
    let adopter = Adopter()
    server.context.profiles.setAdopter(adopter)
    let client = try connect(server)
    let most = CodecProfiles.perNamespaceMax
    for layout in 1...most {
      _ = try client.connection.useProfile(try store(client, profile(layout: UInt8(layout))))
    }
    let beyond = try store(client, profile(layout: UInt8(most + 1)))
    #expect(throws: ClientError.self) { try client.connection.useProfile(beyond) }
    #expect(adopter.all.count == most)
    let instead = try store(client, profile(layout: UInt8(most), size: 5000))
    #expect(try client.connection.useProfile(instead).byteCount == 5000)
    #expect(try client.connection.listProfiles().count == most)
    withExtendedLifetime(server) {}
  }

  @Test("belong to their namespace")
  func namespaces() throws {
    let hash = TokenHash(of: "token").hexadecimal
    let server = try makeServer(["namespaces": ["red:\(hash)", "blue:\(hash)"]])
    server.context.profiles.setAdopter(Adopter())
    let clients = try ["red", "blue"].map {
      Client(
        try Connection(server.endpoints[0], namespace: NamespaceName($0), token: "token"))
    }
    let (red, blue) = (clients[0], clients[1])
    let name = try store(red, profile())
    _ = try red.connection.useProfile(name)
    #expect(try blue.connection.listProfiles().isEmpty)
    #expect(try fetch(blue, name, room: 4096).0.miss == .neverStored)
    withExtendedLifetime(server) {}
  }
}
