import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

/// Blends that are given up, and what is left of them.
struct BlendEndTests {
  /// A blend of one document with one layer published, and somebody who waits for the last.
  private struct HalfDone {
    let blends: BlendFixture
    let order: BlendOrder
    let told = Told()
    var tenant: Namespace { blends.fixture.tenant }

    init() throws {
      blends = try BlendFixture()
      order = try blends.order([try blends.learn(1, tokens: 20)])
      let told = told
      _ = try blends.pool.wait(for: order.key(of: order.layers[2]), in: blends.fixture.tenant) {
        told.tell()
      }
      #expect(blends.compose(order).value == nil)
      blends.executor.runOne()
      blends.executor.runOne()
      #expect(blends.present(order) == [0])
    }

    /// Nothing is there any more, who waits knows it, and nothing is kept of it.
    func expectGone(_ cause: MissCause) throws {
      #expect(told.number == 1)
      #expect(blends.present(order).isEmpty)
      blends.executor.runAll()
      #expect(blends.present(order).isEmpty)
      for layer in 0..<3 {
        #expect(blends.layer(layer, of: order) == .failure(.init(cause: cause)))
      }
      let key = order.key(of: order.layers[1])
      #expect(blends.pool.isGivenUp(key, in: blends.fixture.tenant))
      #expect(try blends.pool.wait(for: key, in: blends.fixture.tenant) {} == nil)
      #expect(blends.statistics.cancelled == 1 && blends.statistics.underWay == 0)
      #expect(blends.statistics.kept == 0 && blends.statistics.assembled == 0)
      let statistics = blends.pool.statistics
      #expect(statistics.bufferBytes == 0)
      #expect(statistics.waiters == 0)
    }
  }

  @Test func aPurgedChunkGivesItUp() throws {
    let half = try HalfDone()
    half.blends.fixture.purge(.keys([half.blends.key(1, 1)]))
    try half.expectGone(.purged)
  }

  @Test func aPurgedPrefixGivesItUp() throws {
    let half = try HalfDone()
    half.blends.fixture.purge(.prefixes([half.blends.key(1, 0).hash]))
    try half.expectGone(.purged)
  }

  @Test func aPurgedLayoutGivesItUp() throws {
    let half = try HalfDone()
    half.blends.fixture.purge(.layouts([half.blends.layout.id]))
    try half.expectGone(.purged)
  }

  @Test func aPurgedNamespaceGivesItUp() throws {
    let half = try HalfDone()
    half.blends.fixture.purge(.namespace)
    try half.expectGone(.purged)
  }

  @Test func aRetiredDocumentGivesItUp() throws {
    let half = try HalfDone()
    _ = half.blends.pool.retire(document: "document 1", in: half.blends.fixture.tenant)
    try half.expectGone(.purged)
  }

  @Test func aDocumentPublishedAnewGivesItUp() throws {
    let half = try HalfDone()
    try half.blends.learn(1, tokens: 16)
    try half.expectGone(.purged)
  }

  @Test func theEndOfTheDaemonGivesItUpAndBeginsNoMore() throws {
    let half = try HalfDone()
    half.blends.pool.closeBlending()
    try half.expectGone(.notReady)
    #expect(half.blends.compose(half.order).value == .refused(.cancelled(.notReady)))
  }

  @Test func whatIsPurgedOfOthersLeavesItAlone() throws {
    let half = try HalfDone()
    try half.blends.learn(2, tokens: 16)
    half.blends.fixture.purge(.prefixes([half.blends.key(2, 0).hash]))
    _ = half.blends.pool.retire(document: "document 2", in: half.blends.fixture.tenant)
    half.blends.executor.runAll()
    #expect(half.blends.present(half.order) == [0, 1, 2])
    #expect(half.told.number == 1)
  }

  @Test func aPurgeAlsoDropsWhatWasAssembledBefore() throws {
    let half = try HalfDone()
    half.blends.executor.runAll()
    #expect(half.blends.present(half.order) == [0, 1, 2])
    half.blends.fixture.purge(.keys([half.blends.key(1, 0)]))
    #expect(half.blends.present(half.order).isEmpty)
    #expect(half.blends.statistics.kept == 0)
    let key = half.order.key(of: half.order.layers[0])
    #expect(try half.blends.pool.wait(for: key, in: half.tenant) {} == nil)
  }

  @Test func nobodyWaitsForALayerThatWentSinceItWasAssembled() throws {
    let half = try HalfDone()
    half.blends.executor.runAll()
    let key = half.order.key(of: half.order.layers[1])
    half.blends.fixture.purge(.keys([key]))
    #expect(half.blends.present(half.order) == [0, 2])
    #expect(try half.blends.pool.wait(for: key, in: half.tenant) {} == nil)
  }

  @Test func aBlendIsEvictedBeforeWhatItWasMadeOf() throws {
    let half = try HalfDone()
    half.blends.executor.runAll()
    let pool = half.blends.pool
    let now = pool.clock.now()
    let keys = [half.order.key(of: half.order.layers[0]), half.blends.key(1, 0)]
    let ranks = try keys.map { key in
      let object = try #require(pool.live(key, in: half.tenant, now: now))
      return ChainAwarePolicy().rank(object.evictionFacts(isOrphan: false))
    }
    #expect(ranks[0] < ranks[1])
  }

  @Test func itCanBeOrderedAgainAfterItWasGivenUp() throws {
    let half = try HalfDone()
    half.blends.fixture.purge(.keys([half.blends.key(1, 1)]))
    try half.blends.store(1, 1, tokens: 4, half.blends.whole)
    let answer = half.blends.compose(half.order)
    #expect(!half.blends.pool.isGivenUp(half.order.key(of: half.order.layers[0]), in: half.tenant))
    half.blends.executor.runAll()
    #expect(answer.value == .begun)
    #expect(half.blends.present(half.order) == [0, 1, 2])
  }

  @Test func whoWaitsForTheAnswerIsTold() throws {
    let blends = try BlendFixture()
    let order = try blends.order([try blends.learn(1, tokens: 20)])
    let answers = [blends.compose(order), blends.compose(order)]
    blends.fixture.purge(.keys([blends.key(1, 0)]))
    #expect(answers.allSatisfy { $0.value == .refused(.cancelled(.purged)) })
    blends.executor.runAll()
    #expect(blends.present(order).isEmpty && blends.pool.statistics.bufferBytes == 0)
  }
}
