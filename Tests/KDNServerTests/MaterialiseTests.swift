import KDNClient
import KDNCodec
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

/// Classes as edits, and chunks that are kept as edits make them.
struct MaterialiseTests: ServerTesting {
  private static let marked: [Range<Int>] = [5..<9, 30..<40]

  private func layers(_ site: ComposeSite, _ response: ComposeResponse) throws -> [[UInt8]] {
    try (0..<3).map { try #require(try site.layer($0, of: response)) }
  }

  /// The same blend assembled once more: what is there of it is purged first.
  private func again(
    _ site: ComposeSite, _ documents: [Int], like first: ComposeResponse
  ) throws -> [[UInt8]] {
    let keys = (0..<3).map { site.key(first, layer: $0) }
    _ = try site.client.purge(.keys(keys))
    let response = try site.compose(documents)
    #expect(response.hash == first.hash)
    return try layers(site, response)
  }

  private func kept(_ site: ComposeSite) throws -> [ObjectKey] {
    let pool = site.server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    return try pool.objects(in: namespace, after: nil, limit: 1000).objects.map(\.key).filter {
      $0.kind == .layout && $0.variant >= EditedForm.variantMin
    }
  }

  private func waitUntilWhole(_ site: ComposeSite, _ name: String) throws -> Materialised {
    var material = try site.client.materialise(name)
    while material.state == .running { material = try site.client.materialised(name) }
    return material
  }

  private func count(_ site: ComposeSite, _ name: String) throws -> Int {
    try #require(try numbers(site.client, "blends")[name] as? Int)
  }

  /// Strengths of two chunks, and a class.
  private func edit(_ site: ComposeSite, _ name: String, codec: PayloadCodec? = .high) throws {
    try site.edit(name, .scaleKeys(1.75, TokenSpans(Self.marked)))
    if let codec { try site.edit(name, .requantise(codec)) }
    try site.edit(name, .scaleValues(-1.3, TokenSpans([0..<2])))
  }

  /// What a codec gives back of a chunk with strengths, by its definition.
  private func delivered(_ site: ComposeSite, _ tokens: Range<Int>) throws -> [UInt8] {
    var bytes = ComposeSite.bytes(1, tokens: tokens, site.whole)
    let width = ComposeSite.dims * 2
    for layer in 0..<3 {
      for half in 0..<2 {
        for head in 0..<2 {
          for token in tokens {
            let isMarked = Self.marked.contains { $0.contains(token) }
            let strength: Float = half == 0 ? isMarked ? 1.75 : 1 : token < 2 ? -1.3 : 1
            let plane = ((layer * 2 + half) * 2 + head) * tokens.count
            let start = (plane + token - tokens.lowerBound) * width
            for place in stride(from: start, to: start + width, by: 2) where strength != 1 {
              let raw = UInt32(bytes[place]) << 16 | UInt32(bytes[place + 1]) << 24
              let bits = (Float(bitPattern: raw) * strength).bitPattern
              let rounded = (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16
              bytes[place] = UInt8(truncatingIfNeeded: rounded)
              bytes[place + 1] = UInt8(truncatingIfNeeded: rounded >> 8)
            }
          }
        }
      }
    }
    let facts = EncodingFacts(
      layout: site.layout, part: site.whole, firstToken: UInt64(tokens.lowerBound),
      tokenCount: tokens.count)
    let encoded = try Encoder(.high).encode(bytes.span.bytes, facts).bytes
    guard encoded.count < bytes.count else { return bytes }
    var decoded = [UInt8](repeating: 0, count: bytes.count)
    let header = try EncodedHeader(reading: encoded.span.bytes)
    var span = decoded.mutableSpan
    var room = span.mutableBytes
    try Decoder(header, profile: nil).decode(encoded.span.bytes, into: &room)
    return decoded
  }

  @Test func aClassIsAppliedLastAndGivesWhatItsCodecGives() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 70)
    let base = try site.compose([1])
    try site.check(base, [1])
    try edit(site, "document 1")
    let edited = try site.compose([1])
    #expect(edited.hash != base.hash)
    let chunks = try [0..<32, 32..<64, 64..<70].map { ($0, try delivered(site, $0)) }
    for layer in 0..<3 {
      var expected: [UInt8] = []
      for plane in 0..<4 {
        for (tokens, bytes) in chunks {
          let size = tokens.count * ComposeSite.dims * 2
          let start = (layer * 4 + plane) * size
          expected += bytes[start..<start + size]
        }
      }
      #expect(try site.layer(layer, of: edited) == expected, "layer \(layer)")
    }
    #expect(try count(site, "edited_objects_total") == 3)
    #expect(try site.client.revertEdits(of: "document 1") == 3)
    let reverted = try site.compose([1])
    #expect(reverted.hash == base.hash)
    try site.check(reverted, [1])
  }

  @Test func aClassWithoutItsProfileIsRefusedByName() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 40)
    try site.edit("document 2", .requantise(.balanced))
    let missing = try #require(site.refusal { _ = try site.compose([1, 2]) })
    #expect(missing == (.notFound, "profile", 1))
    #expect(try site.compose([1, 2], flags: .dropFirst).rowCount == 79)
    let order = try #require(site.refusal { _ = try site.client.materialise("document 2") })
    #expect(order.status == .notFound && order.field == "profile")
  }

  @Test(arguments: [PayloadCodec?.none, .high])
  func keptChunksGiveTheSameBytes(_ codec: PayloadCodec?) throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 70, parts: site.halves)
    try edit(site, "document 2", codec: codec)
    let first = try site.compose([1, 2, 2])
    let bytes = try layers(site, first)
    // Two parts of each chunk that is another one, edited once.
    let changed = codec == nil ? 4 : 6
    #expect(try count(site, "edited_objects_total") == changed)
    #expect(try again(site, [1, 2, 2], like: first) == bytes)
    #expect(try site.client.materialised("document 2").state == .onDelivery)
    let whole = Materialised(.whole, total: changed, kept: changed)
    #expect(try waitUntilWhole(site, "document 2") == whole)
    #expect(try kept(site).count == changed)
    #expect(try count(site, "materialised_objects_total") == changed)
    let edited = try count(site, "edited_objects_total")
    #expect(try again(site, [1, 2, 2], like: first) == bytes)
    #expect(try count(site, "edited_objects_total") == edited)
    #expect(try count(site, "edited_kept_objects_total") == 2 * changed)
    // Half of it is gone, and is made on the way.
    _ = try site.client.purge(.keys(Array(try kept(site).prefix(changed / 2))))
    #expect(try site.client.materialised("document 2").kept == changed / 2)
    #expect(try again(site, [1, 2, 2], like: first) == bytes)
    #expect(try count(site, "edited_objects_total") > edited)
    // An order for what is there in part makes the rest.
    #expect(try waitUntilWhole(site, "document 2") == whole)
  }

  @Test func whatIsKeptGoesWithTheEditsTheNameAndTheChunks() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 70)
    func make() throws {
      try site.edit("document 1", .requantise(.high))
      #expect(try waitUntilWhole(site, "document 1").kept == 3)
      #expect(try kept(site).count == 3)
    }
    try make()
    _ = try site.client.revertEdits(of: "document 1")
    #expect(try kept(site).isEmpty)
    try make()
    try site.edit("document 1", .drop(TokenSpans([3..<4])))
    #expect(try kept(site).isEmpty)
    #expect(try site.client.materialised("document 1").state == .onDelivery)
    try site.learn(1, tokens: 70, stores: false)
    try make()
    try site.learn(1, tokens: 70, stores: false)
    #expect(try kept(site).isEmpty)
    #expect(try site.client.materialised("document 1").state == .nothing)
    try make()
    let hash = try site.hashes(1, tokens: 70)[1]
    _ = try site.client.purge(.keys([ObjectKey(hash: hash, layout: site.id, part: site.whole)]))
    #expect(try kept(site).isEmpty)
    try site.learn(1, tokens: 70)
    try make()
    _ = try site.client.connection.request(
      .document(.retire(name: "document 1")), deadlineMilliseconds: 0)
    #expect(try kept(site).isEmpty)
  }

  @Test func keptChunksOutliveTheDaemonOrAreMadeAgainOnTheWay() async throws {
    let fixture = try DiskFixture()
    var bytes: [[UInt8]] = []
    do {
      let site = try ComposeSite(fixture.start())
      try site.learn(1, tokens: 70, durability: .disk)
      try edit(site, "document 1")
      bytes = try layers(site, try site.compose([1]))
      #expect(try waitUntilWhole(site, "document 1").kept == 3)
      #expect(await fixture.stop(site.server))
    }
    let site = try ComposeSite(fixture.start())
    try fixture.waitUntilReady(site.client)
    // Written behind, before the end.
    #expect(try site.client.materialised("document 1").state == .whole)
    let response = try site.compose([1])
    #expect(try layers(site, response) == bytes)
    #expect(try count(site, "edited_kept_objects_total") == 3)
    _ = try site.client.purge(.keys(try kept(site)))
    #expect(try again(site, [1], like: response) == bytes)
    #expect(try count(site, "edited_objects_total") == 3)
    #expect(try waitUntilWhole(site, "document 1").kept == 3)
    _ = try site.client.revertEdits(of: "document 1")
    // In the background, since all of the disk is looked at.
    while try !kept(site).isEmpty {}
    let base = try site.compose([1])
    try site.check(base, [1])
    #expect(await fixture.stop(site.server))
  }

  @Test func ordersForNothingAreRefused() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    let unknown = try #require(site.refusal { _ = try site.client.materialise("document 9") })
    #expect(unknown == (.notFound, "name", 0))
    #expect(try site.client.materialised("document 1") == Materialised(.nothing))
    let asked = try #require(site.refusal { _ = try site.client.materialised("document 9") })
    #expect(asked == (.notFound, "name", 0))
    for _ in 0..<2 {
      let nothing = try #require(site.refusal { _ = try site.client.materialise("document 1") })
      #expect(nothing.status == .badRequest && nothing.field == "edits")
      try site.edit("document 1", .drop(TokenSpans([3..<4])))
    }
  }
}
