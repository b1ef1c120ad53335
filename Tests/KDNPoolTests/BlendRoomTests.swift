import KDNCore
import KDNMemory
import KDNTier
import Testing

@testable import KDNPool

/// Blends, the two tiers, and the limits.
struct BlendRoomTests {
  @Test(arguments: [0, 64]) func chunksOnlyOnDiskAreReadFirst(stagingKibibytes: Int) throws {
    let tier = ScriptedTier()
    defer { tier.forgetPending() }
    let blends = try BlendFixture(tier: tier, stagingKibibytes: stagingKibibytes)
    let parts = [0, 1].map {
      Part(firstLayer: 0, layerCount: 3, firstKVHead: UInt16($0), kvHeadCount: 1)
    }
    blends.putBelow(1, tokens: 20, parts: parts, in: tier)
    let order = try blends.order([
      try blends.learn(1, tokens: 20, stores: false), try blends.learn(2, tokens: 5),
    ])
    let answer = blends.compose(order)
    blends.executor.runAll()
    #expect(answer.value == nil && tier.pendingReads == 4)
    while tier.pendingReads > 0 { tier.endRead() }
    #expect(answer.value == nil)
    blends.executor.runAll()
    #expect(answer.value == .begun)
    for layer in 0..<3 {
      #expect(
        blends.layer(layer, of: order)
          == .success(blends.expected(order, layer: layer, numbers: [1, 2])))
    }
    #expect(blends.pool.statistics.bufferBytes == 0)
  }

  @Test func aChunkThatCannotBeReadIsToldWithItsPiece() throws {
    let tier = ScriptedTier()
    defer { tier.forgetPending() }
    let blends = try BlendFixture(tier: tier)
    blends.putBelow(1, tokens: 20, in: tier)
    let order = try blends.order([
      try blends.learn(2, tokens: 5), try blends.learn(1, tokens: 20, stores: false),
    ])
    let answer = blends.compose(order)
    blends.executor.runAll()
    tier.endRead(.missed(.corrupt))
    tier.endRead()
    blends.executor.runAll()
    #expect(answer.value == .refused(.missing(piece: 1, .corrupt)))
    #expect(blends.present(order).isEmpty)
  }

  @Test func aPurgeWhileChunksAreReadGivesItUp() throws {
    let tier = ScriptedTier()
    defer { tier.forgetPending() }
    let blends = try BlendFixture(tier: tier)
    blends.putBelow(1, tokens: 20, in: tier)
    let order = try blends.order([try blends.learn(1, tokens: 20, stores: false)])
    let answer = blends.compose(order)
    blends.executor.runAll()
    blends.fixture.purge(.keys([blends.key(1, 0)]))
    #expect(answer.value == .refused(.cancelled(.purged)))
    while tier.pendingReads > 0 { tier.endRead() }
    blends.executor.runAll()
    #expect(blends.present(order).isEmpty)
    #expect(blends.pool.statistics.bufferBytes == 0)
  }

  @Test func withoutRoomForAllLayersItIsRefusedBeforeTheFirst() throws {
    let blends = try BlendFixture()
    let tenant = blends.fixture.tenant
    let document = try blends.learn(1, tokens: 64)
    let order = try blends.order([document])
    // 12 KiB of chunks; as much again would be the blend.
    blends.pool.setLimits(NamespaceLimits(ramBytesMax: 20 << 10), of: tenant)
    let keys = (0..<4).map { blends.key(1, $0) }
    _ = try blends.pool.pin(keys, ttlMilliseconds: 1000, in: tenant)
    let answer = blends.compose(order)
    blends.executor.runAll()
    guard case .refused(.pool(.overQuota)) = answer.value else {
      Issue.record("\(String(describing: answer.value))")
      return
    }
    #expect(blends.present(order).isEmpty)
    #expect(blends.statistics.withoutRoom == 1)
    #expect(blends.pool.share(of: tenant).ramBytes == 12 << 10)
    blends.pool.setLimits(NamespaceLimits(ramBytesMax: 24 << 10), of: tenant)
    let second = blends.compose(order)
    blends.executor.runAll()
    #expect(second.value == .begun && blends.present(order) == [0, 1, 2])
    #expect(blends.pool.share(of: tenant).ramBytes == 24 << 10)
  }

  @Test func whatCanNeverFitIsTooLarge() throws {
    let blends = try BlendFixture()
    let order = try blends.order([try blends.learn(1, tokens: 64)])
    blends.pool.setLimits(
      NamespaceLimits(ramBytesMax: order.byteCount - 1), of: blends.fixture.tenant)
    let answer = blends.compose(order)
    blends.executor.runAll()
    #expect(
      answer.value
        == .refused(.pool(.tooLarge(bytes: order.byteCount, limit: order.byteCount - 1))))
  }

  @Test func aTenantHasOnlySoManyUnderWayAndAllTogetherToo() throws {
    var settings = BlendSettings()
    settings.perNamespaceMax = 2
    settings.underWayMax = 3
    let blends = try BlendFixture(settings: settings)
    let document = try blends.learn(1, tokens: 5)
    for name in ["a", "b"] {
      #expect(blends.compose(try blends.order([document], name: name)).value == nil)
    }
    let third = try blends.order([document], name: "c")
    guard case .refused(.busy(let fault)) = blends.compose(third).value else {
      Issue.record("not refused")
      return
    }
    #expect(fault.field == "blends" && fault.limit == 2)
    let other = try blends.fixture.addTenant("other")
    #expect(blends.compose(third, in: other).value == nil)
    let fourth = try blends.order([document], name: "d")
    guard case .refused(.busy(let total)) = blends.compose(fourth, in: other).value else {
      Issue.record("not refused")
      return
    }
    #expect(total.limit == 3)
    #expect(blends.statistics.busy == 2 && blends.statistics.underWay == 3)
    blends.executor.runAll()
    #expect(blends.statistics.underWay == 0)
    let again = blends.compose(third)
    blends.executor.runAll()
    #expect(again.value == .begun)
  }

  @Test func ofOneTenantsDocumentsAnotherSeesNothing() throws {
    let blends = try BlendFixture()
    let order = try blends.order([try blends.learn(1, tokens: 5)])
    let other = try blends.fixture.addTenant("other")
    _ = try blends.pool.register(blends.layout, in: other)
    _ = blends.compose(order)
    blends.executor.runAll()
    let answer = blends.compose(order, in: other)
    blends.executor.runAll()
    #expect(answer.value == .refused(.missing(piece: 0, .neverStored)))
    #expect(!blends.pool.contains(order.key(of: order.layers[0]), in: other))
  }

  @Test func theOldestBlendIsForgottenFirst() throws {
    var settings = BlendSettings()
    settings.keptMax = 2
    let blends = try BlendFixture(settings: settings)
    let document = try blends.learn(1, tokens: 5)
    let orders = try ["a", "b", "c"].map { try blends.order([document], name: $0) }
    for order in orders {
      _ = blends.compose(order)
      blends.executor.runAll()
    }
    #expect(orders.map { blends.present($0).count } == [0, 3, 3])
    #expect(blends.statistics.kept == 2)
  }

  @Test func tokensAreLimited() throws {
    var settings = BlendSettings()
    settings.tokensMax = 9
    let blends = try BlendFixture(settings: settings)
    let document = try blends.learn(1, tokens: 10)
    let answer = blends.compose(try blends.order([document]))
    blends.executor.runAll()
    guard case .refused(.pool(.fault(let fault))) = answer.value else {
      Issue.record("not refused")
      return
    }
    #expect(fault.field == "rowCount" && fault.value == 10 && fault.limit == 9)
  }

  @Test func layoutsThatCannotBeBlendedSayWhy() throws {
    for group in [
      LayoutGroup(kind: .latent(rank: 8, ropeDim: 4), layers: [0]),
      LayoutGroup(kind: .opaque(bytesPerToken: 8), layers: [0]),
      LayoutGroup(kind: .attention(kvHeads: 1, headDim: 8), layers: [0], slidingWindow: 16),
    ] {
      let layout = try Layout(elementType: .f16, groups: [group])
      #expect {
        _ = try BlendLayer.layers(of: layout)
      } throws: {
        ($0 as? FieldFault)?.field == "layout"
      }
    }
  }
}
