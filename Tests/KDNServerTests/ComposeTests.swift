import Foundation
import KDNClient
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

struct ComposeTests: ServerTesting {
  @Test func layersAreWhatTheArithmeticSays() throws {
    let site = try ComposeSite(makeServer())
    // Ragged last chunks, a document of less than a chunk, and one twice.
    try site.learn(1, tokens: 70)
    try site.learn(2, tokens: 33)
    try site.learn(3, tokens: 5)
    let documents = [1, 2, 3, 1]
    let response = try site.compose(documents, permille: 100)
    #expect(response.rowCount == 70 + 32 + 4 + 69)
    #expect(response.endPosition == 70 + 33 + 5 + 70)
    #expect(response.byteCount == 3 * 2 * 2 * 16 * 2 * response.rowCount)
    #expect(response.recomputeTokens == 18)
    #expect(response.pieces.map(\.firstPosition) == [0, 70, 103, 108])
    #expect(response.pieces.map(\.firstRow) == [0, 70, 102, 106])
    #expect(response.pieces[1].dropped.ranges == [0..<1])
    try site.check(response, documents)
  }

  @Test func positionsSlotsAndFirstTokensAreAsAsked() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 33)
    let response = try site.compose(
      [1, 2], slots: [64, 0], firstPosition: 1000, flags: [.edits])
    #expect(response.rowCount == 73)
    #expect(response.endPosition == 1097)
    #expect(response.pieces.map(\.firstPosition) == [1000, 1064])
    #expect(response.pieces.allSatisfy { $0.dropped.ranges.isEmpty })
    try site.check(response, [1, 2])
  }

  @Test func aWaitingGetIsAnsweredWhileTheRestIsAssembled() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    let response = try site.compose([1])
    // All three at once, the last first.
    let items = [2, 1, 0].map { GetRequest.Item(key: site.key(response, layer: $0)) }
    var rooms = [UInt8](repeating: 0, count: response.byteCount)
    let each = response.byteCount / 3
    let results = try rooms.withUnsafeMutableBytes { room in
      try site.client.connection.get(
        items,
        into: (0..<3).map { .init(rebasing: room[$0 * each..<($0 + 1) * each]) },
        terms: GetTerms(flags: .wait))
    }
    #expect(results.allSatisfy { $0.bytes == each })
    for (place, layer) in [2, 1, 0].enumerated() {
      #expect(
        Array(rooms[place * each..<(place + 1) * each])
          == site.expected(response, [1], layer: layer))
    }
  }

  @Test func theSameAgainIsAHitAndAnotherPlanHasAnotherName() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 33)
    let first = try site.compose([1, 2])
    try site.check(first, [1, 2])
    #expect(try site.compose([1, 2], permille: 500).hash == first.hash)
    let others = [
      try site.compose([2, 1]), try site.compose([1, 2], firstPosition: 1),
      try site.compose([1, 2], slots: [41, 0]), try site.compose([1, 2], flags: .edits),
      try site.compose([1]),
    ]
    #expect(Set(others.map(\.hash)).union([first.hash]).count == 6)
    // A slot that is as long as its document is none.
    #expect(try site.compose([1, 2], slots: [40, 33]).hash == first.hash)
    for response in others { #expect(try site.layer(2, of: response) != nil) }
    let blends = try numbers(site.client, "blends")
    #expect(blends["hits_total"] as? Int == 2)
    #expect(blends["assembled_total"] as? Int == 6)
  }

  @Test func tensorParallelPartsAndDiskAloneGiveTheSameBytes() async throws {
    let fixture = try DiskFixture()
    var expected: [[UInt8]?] = []
    do {
      let site = try ComposeSite(fixture.start())
      try site.learn(1, tokens: 70, parts: site.halves, durability: .disk)
      try site.learn(2, tokens: 33, durability: .disk)
      let response = try site.compose([1, 2])
      try site.check(response, [1, 2])
      expected = try (0..<3).map { try site.layer($0, of: response) }
      #expect(try numbers(site.client, "disk")["objects"] as? Int == 8)
      #expect(await fixture.stop(site.server))
    }
    let site = try ComposeSite(fixture.start())
    try fixture.waitUntilReady(site.client)
    try site.learn(1, tokens: 70, stores: false)
    try site.learn(2, tokens: 33, stores: false)
    let response = try site.compose([1, 2])
    #expect(try (0..<3).map { try site.layer($0, of: response) } == expected)
    #expect(try numbers(site.client, "disk")["objects"] as? Int == 8)
    #expect(await fixture.stop(site.server))
  }

  @Test func encodedChunksAreDecodedFirst() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 70)
    let pool = site.server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    let recoding = try #require(
      pool.recode(RecodingOrder(codec: PayloadCodec.exact.rawValue), in: namespace))
    while !recoding.progress.isOver { try site.client.ping() }
    // The last, of six tokens, does not pay.
    #expect(recoding.progress.recoded == 2)
    let response = try site.compose([1], firstPosition: 9)
    try site.check(response, [1])
  }

  // MARK: Edits and rules

  @Test func editsAreAppliedWhereKVIsAssembledAndRevertedToTheBit() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 70)
    let base = try site.compose([1, 2])
    try site.check(base, [1, 2])
    let marked = try TokenSpans([5..<9, 30..<40])
    try site.edit("document 2", .scaleKeys(1.5, marked))
    try site.edit("document 2", .drop(TokenSpans([20..<33])))
    let edited = try site.compose([1, 2])
    #expect(edited.hash != base.hash)
    #expect(edited.rowCount == base.rowCount - 13)
    #expect(edited.pieces[1].dropped.ranges == [0..<1, 20..<33])
    try site.check(edited, [1, 2]) { document, token in
      document == 2 && marked.ranges.contains { $0.contains(token) } ? 1.5 : 1
    }
    let plain = try site.compose([1, 2], flags: .dropFirst)
    #expect(plain.hash == base.hash)
    try site.check(plain, [1, 2])
    _ = try site.client.connection.request(
      .edit(.revert(name: "document 2", id: 0)), deadlineMilliseconds: 0)
    let reverted = try site.compose([1, 2])
    #expect(reverted.hash == base.hash)
    try site.check(reverted, [1, 2])
  }

  @Test func aRuleOfTheNamespaceKeepsADocumentOut() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 33)
    let pool = site.server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    pool.changeAccessRules(denying: ["document 2*"], allowing: [], in: namespace) { _ in }
    let denied = try #require(site.refusal { _ = try site.compose([1, 2]) })
    #expect(denied == (.forbidden, "name", 1))
    #expect(try site.compose([1]).rowCount == 40)
    pool.changeAccessRules(denying: [], allowing: ["document 2*"], in: namespace) { _ in }
    #expect(try site.compose([1, 2]).rowCount == 72)
  }

  // MARK: Refusals

  @Test func whatIsUnknownForbiddenOrUnsuitedIsRefusedWithItsPiece() throws {
    let site = try ComposeSite(makeServer())
    let epoch = try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 1)
    let f16 = try site.client.register(ComposeSite.layout(type: .f16)).layout
    try site.learn(3, tokens: 20, layout: f16)
    let unknown = try #require(site.refusal { _ = try site.compose([1, 9]) })
    #expect(unknown == (.notFound, "name", 1))
    let forbidden = try #require(
      site.refusal { _ = try site.compose([1, 1], forbidden: ["x", "document 1"]) })
    #expect(forbidden == (.forbidden, "name", 0))
    let mixed = try #require(site.refusal { _ = try site.compose([1, 3]) })
    #expect(mixed == (.badRequest, "layout", 1))
    let stale = try #require(site.refusal { _ = try site.compose([1], epochs: [epoch + 9]) })
    #expect(stale.status == .badRequest && stale.field == "epoch")
    let slot = try #require(site.refusal { _ = try site.compose([1], slots: [39]) })
    #expect(slot.status == .badRequest && slot.field == "slot")
    let empty = try #require(site.refusal { _ = try site.compose([1, 2]) })
    #expect(empty.status == .badRequest && empty.field == "document")
    let far = try #require(
      site.refusal { _ = try site.compose([1], firstPosition: Int(Int32.max) - 10) })
    #expect(far.status == .badRequest && far.field == "position")
    let blends = try numbers(site.client, "blends")
    #expect(blends["unknown_total"] as? Int == 1)
    #expect(blends["forbidden_total"] as? Int == 1)
    #expect(blends["unsuited_total"] as? Int == 5)
    #expect(blends["assembled_total"] as? Int == 0)
    #expect(try site.compose([1], epochs: [epoch]).rowCount == 40)
  }

  @Test func goneChunksAreToldBeforeAnythingIsSeen() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 70)
    let whole = try site.compose([1, 2])
    try site.check(whole, [1, 2])
    let hashes = try site.hashes(2, tokens: 70)
    _ = try site.client.purge(
      .keys([ObjectKey(hash: hashes[1], layout: site.id, part: site.whole)]))
    // What was made of it is gone too.
    for layer in 0..<3 {
      #expect(try !site.client.exists([site.key(whole, layer: layer)])[0])
    }
    let gone = try #require(site.refusal { _ = try site.compose([1, 2]) })
    #expect(gone == (.notFound, "chunks", 1))
    #expect(try site.compose([1]).rowCount == 40)
  }

  @Test func aRetiredOrReplacedDocumentTakesItsBlendsAlong() throws {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    let first = try site.compose([1])
    try site.check(first, [1])
    try site.learn(2, tokens: 33, name: "document 1")
    #expect(try !site.client.exists([site.key(first, layer: 0)])[0])
    let second = try site.compose([1])
    #expect(second.hash != first.hash)
    try site.check(second, [2])
    _ = try site.client.connection.request(
      .document(.retire(name: "document 1")), deadlineMilliseconds: 0)
    #expect(try !site.client.exists([site.key(second, layer: 0)])[0])
  }

  @Test func oneTenantSeesNothingOfAnother() throws {
    let server = try makeServer(["namespaces": ["other:\(TokenHash(of: "token").hexadecimal)"]])
    let site = try ComposeSite(server)
    try site.learn(1, tokens: 40)
    let response = try site.compose([1])
    try site.check(response, [1])
    let other = Client(
      try Connection(server.endpoints[0], namespace: NamespaceName("other"), token: "token"))
    _ = try other.register(site.layout)
    let unknown = try #require(site.refusal { _ = try site.compose([1], over: other) })
    #expect(unknown == (.notFound, "name", 0))
    #expect(try !other.exists([site.key(response, layer: 0)])[0])
  }

  @Test func withoutRoomItIsRefusedAsAWhole() throws {
    // 40 tokens take 15 360 bytes, as much again their blend.
    let server = try makeServer(["namespace_limits": ["default ram=28KiB"]])
    let site = try ComposeSite(server)
    try site.learn(1, tokens: 40)
    let hashes = try site.hashes(1, tokens: 40)
    let keys = hashes.map { ObjectKey(hash: $0, layout: site.id, part: site.whole) }
    _ = try site.client.pin(keys, ttlMilliseconds: 60_000)
    let full = try #require(site.refusal { _ = try site.compose([1]) })
    #expect(full.status == .overQuota)
    let blends = try numbers(site.client, "blends")
    #expect(blends["without_room_total"] as? Int == 1)
    #expect(blends["under_way"] as? Int == 0)
    let pool = try numbers(site.client, "pool")
    #expect(pool["objects"] as? Int == 2)
  }

  @Test func keysStoredBeforeRotationAreMovedAsTheyAre() throws {
    let site = try ComposeSite(makeServer())
    let layout = try site.client.register(ComposeSite.layout(keys: .beforeRotation)).layout
    try site.learn(1, tokens: 20, layout: layout)
    let response = try site.compose([1], firstPosition: 77, layout: layout)
    let key = ObjectKey(
      hash: response.hash, layout: layout,
      part: Part(firstLayer: 1, layerCount: 1, firstKVHead: 0, kvHeadCount: 2), variant: 1)
    let got = try site.client.get(key, capacity: response.byteCount / 3, flags: .wait)
    let part = Part(firstLayer: 1, layerCount: 1, firstKVHead: 0, kvHeadCount: 2)
    #expect(got.bytes == ComposeSite.bytes(1, tokens: 0..<20, part))
  }

  @Test func theEndOfTheDaemonLeavesNoWaitingBehind() async throws {
    let server = try makeServer()
    let site = try ComposeSite(server)
    try site.learn(1, tokens: 40)
    let response = try site.compose([1])
    try site.check(response, [1])
    site.client.connection.close()
    let isWhole = await withCheckedContinuation { done in
      server.drain { done.resume(returning: $0) }
    }
    #expect(isWhole)
    #expect(server.context.pool.statistics.bufferBytes == 0)
  }
}
