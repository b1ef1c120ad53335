import Foundation
import KDNClient
import KDNCodec
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

/// A server that keeps chunks of bf16 keys and values in RAM, and clients of it.
struct EncodedChunks: ServerTesting {
  static let tokens = 64
  let fixture: SharedMemoryFixture
  let layout: Layout
  let part = Part(firstLayer: 0, layerCount: 3, firstKVHead: 0, kvHeadCount: 2)
  let stored: [UInt8]
  private(set) var keys: [ObjectKey] = []

  var server: Server { fixture.server }

  init(count: Int = 1, _ flags: [String: [String]] = [:]) throws {
    fixture = try SharedMemoryFixture(flags)
    let group = LayoutGroup(kind: .attention(kvHeads: 2, headDim: 32), layers: [0, 1, 2])
    layout = try Layout(elementType: .bf16, groups: [group])
    stored = Self.values(2 * 3 * 2 * 32 * Self.tokens)
    let client = try connect(fixture.server)
    let id = try client.register(layout).layout
    let hashes = try HashChain.hashes(
      root: HashChain.root(model: "test"), tokens: Array(0..<UInt32(Self.tokens * count)),
      chunkTokens: Self.tokens)
    for (index, hash) in hashes.enumerated() {
      let key = ObjectKey(hash: hash, layout: id, part: part)
      let facts = PutBeginRequest(
        key: key, parent: index == 0 ? .none : hashes[index - 1], totalBytes: stored.count,
        firstToken: UInt32(Self.tokens * index), tokenCount: UInt32(Self.tokens))
      #expect(try client.put(facts, bytes: stored) == .published)
      keys.append(key)
    }
  }

  /// Numbers as a model has them: sums of small ones, as bf16.
  private static func values(_ count: Int) -> [UInt8] {
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    return (0..<count).flatMap { _ -> [UInt8] in
      var sum: Float = 0
      for _ in 0..<4 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        sum += Float(state % 2001) / 1000 - 1
      }
      let bits = UInt16(truncatingIfNeeded: sum.bitPattern >> 16)
      return [UInt8(truncatingIfNeeded: bits), UInt8(truncatingIfNeeded: bits >> 8)]
    }
  }

  /// Has the daemon keep all chunks in a codec.
  func recode(to codec: CodecClass, beside others: Int = 0) throws {
    let pool = server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    let recoding = try #require(pool.recode(RecodingOrder(codec: codec.rawValue), in: namespace))
    let client = try connect(server)
    while !recoding.progress.isOver { try client.ping() }
    #expect(recoding.progress.recoded == keys.count, "\(recoding.progress)")
    #expect(recoding.progress.objects == keys.count + others)
  }

  func client(_ link: LinkChoice) throws -> Client {
    let address = link == .tcp ? server.endpoints[0].description : "unix://\(fixture.path)"
    return Client(
      try Connection.open(
        ServerAddress(parsing: address, field: "address"), namespace: NamespaceName("default"),
        link: link))
  }

  func get(
    _ client: Client, _ terms: GetTerms, selection: GetRequest.Selection = .whole
  ) throws -> (result: GetResult, bytes: [UInt8]) {
    var room = [UInt8](repeating: 0, count: stored.count)
    let item = GetRequest.Item(key: keys[0], selection: selection)
    let results = try room.withUnsafeMutableBytes {
      try client.connection.get([item], into: [$0], terms: terms)
    }
    return (results[0], Array(room[..<results[0].bytes]))
  }

  /// What decoding an object on the wire gives.
  func decoded(_ object: [UInt8], profile: Profile? = nil) throws -> [UInt8] {
    let header = try EncodedHeader(reading: object)
    return try Decoder(header, profile: profile).decode(object, limit: stored.count)
  }

  /// Stores a profile of weights and has the daemon use it; gives its name and its bytes.
  func useWeights(_ client: Client) throws -> (hash: ChunkHash, bytes: [UInt8]) {
    var writer = try ProfileWriter(kind: .weights, layout: layout, part: part, tokenCount: 9000)
    let weights = (0..<64).map { 0.5 + Float($0) / 64 }
    for layer in 0..<3 {
      for plane in [Plane.keys, .values] {
        let statistics = PlaneStatistics(
          weights: weights, means: Array(repeating: 0, count: 64),
          spreads: Array(repeating: 1, count: 64))
        try writer.add(statistics, layerIndex: layer, plane)
      }
    }
    let bytes = try writer.finish()
    let hash = HashChain.opaque(bytes)
    let facts = PutBeginRequest(
      key: CodecProfileRequest.key(of: hash), totalBytes: bytes.count)
    #expect(try client.put(facts, bytes: bytes) == .published)
    let used = try client.connection.useProfile(hash)
    #expect(used.hash == hash && used.kind == 1 && used.tokenCount == 9000)
    return (hash, bytes)
  }
}
