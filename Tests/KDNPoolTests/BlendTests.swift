import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct BlendTests {
  @Test func layersComeOneByOneAndHoldTheRowsOfAllDocuments() throws {
    let blends = try BlendFixture()
    let documents = [try blends.learn(1, tokens: 40), try blends.learn(2, tokens: 7)]
    let order = try blends.order(documents, kept: [[0..<5, 20..<40], [1..<7]])
    let answer = blends.compose(order)
    #expect(answer.value == nil)
    blends.executor.runOne()
    #expect(answer.value == .begun)
    #expect(blends.present(order).isEmpty)
    for count in 1...3 {
      blends.executor.runOne()
      #expect(blends.present(order) == Array(0..<count))
    }
    for layer in 0..<3 {
      let expected = blends.expected(order, layer: layer, numbers: [1, 2])
      #expect(blends.layer(layer, of: order) == .success(expected))
      #expect(expected.count == order.layers[layer].byteCount(rows: 31))
    }
    #expect(blends.executor.waiting == 0)
    #expect(blends.statistics.assembled == 1)
    #expect(blends.statistics.assembledTokens == 31)
    #expect(blends.statistics.assembledBytes == UInt64(order.byteCount))
    #expect(blends.statistics.underWay == 0 && blends.statistics.kept == 1)
  }

  @Test func tensorParallelPartsAreJoined() throws {
    let blends = try BlendFixture()
    let parts = [
      Part(firstLayer: 0, layerCount: 2, firstKVHead: 0, kvHeadCount: 1),
      Part(firstLayer: 0, layerCount: 2, firstKVHead: 1, kvHeadCount: 1),
      Part(firstLayer: 2, layerCount: 1, firstKVHead: 0, kvHeadCount: 2),
    ]
    let order = try blends.order([try blends.learn(3, tokens: 20, parts: parts)])
    let answer = blends.compose(order)
    blends.executor.runAll()
    #expect(answer.value == .begun)
    for layer in 0..<3 {
      #expect(
        blends.layer(layer, of: order)
          == .success(blends.expected(order, layer: layer, numbers: [3])))
    }
  }

  @Test func aMissingChunkIsToldWithItsPieceAndNothingCanBeSeen() throws {
    let blends = try BlendFixture()
    let whole = try blends.learn(1, tokens: 16)
    let gone = try blends.learn(2, tokens: 40)
    blends.fixture.purge(.keys([blends.key(2, 1)]))
    let order = try blends.order([whole, gone])
    let answer = blends.compose(order)
    blends.executor.runAll()
    #expect(answer.value == .refused(.missing(piece: 1, .purged)))
    #expect(blends.present(order).isEmpty)
    #expect(blends.statistics.missing == 1 && blends.statistics.underWay == 0)
    #expect(blends.pool.statistics.bufferBytes == 0)
    // What needs nothing of that chunk is not refused.
    let rest = try blends.order([whole, gone], kept: [[0..<16], [0..<16, 32..<40]])
    let second = blends.compose(rest)
    blends.executor.runAll()
    #expect(second.value == .begun && blends.present(rest) == [0, 1, 2])
  }

  @Test func aPartThatIsMissingIsTheWrongLayout() throws {
    let blends = try BlendFixture()
    let half = Part(firstLayer: 0, layerCount: 3, firstKVHead: 1, kvHeadCount: 1)
    let order = try blends.order([try blends.learn(1, tokens: 16, parts: [half])])
    let answer = blends.compose(order)
    blends.executor.runAll()
    #expect(answer.value == .refused(.missing(piece: 0, .wrongLayout)))
  }

  @Test func damagedBytesAreNotBlended() throws {
    let blends = try BlendFixture()
    let order = try blends.order([try blends.learn(1, tokens: 16)])
    let namespace = blends.fixture.tenant
    let object = try #require(
      blends.pool.live(blends.key(1, 0), in: namespace, now: blends.fixture.clock.now()))
    UnsafeMutableRawPointer(mutating: object.body.block.base).storeBytes(of: 0xEE, as: UInt8.self)
    let answer = blends.compose(order)
    blends.executor.runAll()
    #expect(answer.value == .refused(.missing(piece: 0, .corrupt)))
    #expect(blends.present(order).isEmpty)
  }

  @Test func theSameBlendAgainIsAHitAndOneUnderWayIsJoined() throws {
    let blends = try BlendFixture()
    let order = try blends.order([try blends.learn(1, tokens: 20)])
    let first = blends.compose(order)
    let second = blends.compose(order)
    #expect(blends.executor.waiting == 1)
    blends.executor.runOne()
    #expect(first.value == .begun && second.value == .begun)
    #expect(blends.compose(order).value == .begun)
    blends.executor.runAll()
    #expect(blends.compose(order).value == .begun)
    #expect(blends.executor.waiting == 0)
    #expect(blends.statistics.assembled == 1)
    #expect(blends.statistics.joined == 2 && blends.statistics.hits == 1)
  }

  @Test func aBlendThatLostALayerOrIsNearItsEndIsMadeAnew() throws {
    var settings = BlendSettings()
    settings.ttlMilliseconds = 1000
    let blends = try BlendFixture(settings: settings)
    let order = try blends.order([try blends.learn(1, tokens: 20)])
    _ = blends.compose(order)
    blends.executor.runAll()
    blends.fixture.purge(.keys([order.key(of: order.layers[1])]))
    #expect(blends.present(order) == [0, 2])
    let again = blends.compose(order)
    #expect(blends.present(order).isEmpty)
    blends.executor.runAll()
    #expect(again.value == .begun && blends.present(order) == [0, 1, 2])
    #expect(blends.statistics.assembled == 2)
    blends.fixture.clock.advance(milliseconds: 800)
    #expect(blends.compose(order).value == nil)
    blends.executor.runAll()
    #expect(blends.statistics.assembled == 3)
    blends.fixture.clock.advance(milliseconds: 999)
    #expect(blends.present(order) == [0, 1, 2])
    blends.fixture.clock.advance(milliseconds: 1)
    #expect(blends.present(order).isEmpty)
    _ = blends.pool.sweep(now: blends.fixture.clock.now())
    #expect(blends.statistics.kept == 0)
  }

  @Test func waitersAreWokenLayerByLayer() throws {
    let blends = try BlendFixture()
    let order = try blends.order([try blends.learn(1, tokens: 20)])
    let told = Box<[Int]>([])
    for (number, layer) in order.layers.enumerated().reversed() {
      _ = try blends.pool.wait(for: order.key(of: layer), in: blends.fixture.tenant) {
        told.change { $0.append(number) }
      }
    }
    _ = blends.compose(order)
    blends.executor.runOne()
    #expect(told.value.isEmpty)
    blends.executor.runOne()
    #expect(told.value == [0])
    blends.executor.runAll()
    #expect(told.value == [0, 1, 2])
  }

  @Test func assembledLayersStayInMemoryOnly() throws {
    let tier = ScriptedTier()
    defer { tier.forgetPending() }
    let blends = try BlendFixture(tier: tier)
    let order = try blends.order([try blends.learn(1, tokens: 20)])
    _ = blends.compose(order)
    blends.executor.runAll()
    let key = order.key(of: order.layers[0])
    _ = try blends.pool.pin([key], ttlMilliseconds: 1000, in: blends.fixture.tenant)
    let answers = Box<[PoolRefusal?]>([])
    blends.pool.makeDurable(key, in: blends.fixture.tenant) { refusal in
      answers.change { $0.append(refusal) }
    }
    #expect(answers.value == [.unavailable])
    #expect(!tier.pendingWrites.contains { $0.hash == order.hash })
    #expect(!tier.storedKeys.contains { $0.hash == order.hash })
  }
}
