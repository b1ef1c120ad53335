import KDNCodec
import KDNCore
import Testing

@testable import KDNProfile

@Suite struct ProfileLearnerLimitsTests {
  private static func chunks(_ kv: SyntheticKV, _ count: Int, tokens: Int = 64) -> [KVChunk] {
    (0..<count).map { kv.chunk(tokens: tokens, seed: UInt64(100 + $0)) }
  }

  @Test(arguments: [Profile.Kind.weights, .groupedBasis, .wholeBasis])
  func oneLayerOfOneHeadOfTwoDimensionsIsLearned(_ kind: Profile.Kind) throws {
    let kv = try SyntheticKV(layers: 1, heads: 1, dim: 2)
    let (profile, _) = try kv.learn(kind, Self.chunks(kv, 12))
    #expect(profile.bases.count == (kind == .weights ? 0 : 2))
    for basis in profile.bases {
      #expect(basis.rank == 2 && LearnedBasis(basis).skew < 1e-3)
    }
  }

  @Test func oneTokenIsEnoughForAProfile() throws {
    let kv = try SyntheticKV(layers: 1, heads: 1, dim: 2)
    let (profile, report) = try kv.learn(.groupedBasis, Self.chunks(kv, 1, tokens: 1))
    #expect(report.tokenCount == 1)
    #expect(profile.bases.allSatisfy { $0.rank == 1 })
  }

  @Test func channelsThatAreAlwaysZeroAreNoDivisors() throws {
    let kv = try SyntheticKV(layers: 2)
    let zeros = [UInt8](repeating: 0, count: kv.chunk(tokens: 64, seed: 0).bytes.count)
    let chunks = [KVChunk](
      repeating: KVChunk(bytes: zeros, firstToken: 4, tokenCount: 64), count: 10)
    let (profile, _) = try kv.learn(.groupedBasis, chunks)
    #expect(profile.bases.allSatisfy { $0.rank == 1 && $0.residual == 0 })
  }

  @Test(arguments: [(1, [1]), (6, [6]), (7, [3, 4]), (13, [4, 4, 5]), (30, [6, 6, 6, 6, 6])])
  func layersAreSplitEvenlyIntoRunsOfSixAtMost(_ layers: Int, _ runs: [Int]) throws {
    let kv = try SyntheticKV(layers: layers, heads: 1, dim: 2)
    let (profile, _) = try kv.learn(.groupedBasis, Self.chunks(kv, 12, tokens: 16))
    let keys = profile.bases.filter { $0.plane == .keys }
    #expect(keys.map(\.layerCount) == runs)
    #expect(profile.bases.filter { $0.plane == .values }.map(\.layerCount) == runs)
    #expect(keys.map(\.firstLayerIndex).first == 0)
    #expect(
      zip(keys, keys.dropFirst()).allSatisfy {
        $0.firstLayerIndex + $0.layerCount == $1.firstLayerIndex
      })
  }

  @Test func layersOfSeveralGroupsNeverShareABasis() throws {
    let layout = try Layout(
      elementType: .f32,
      groups: [
        LayoutGroup(kind: .attention(kvHeads: 2, headDim: 4), layers: [0, 2, 4]),
        LayoutGroup(kind: .latent(rank: 3, ropeDim: 2), layers: [1]),
        LayoutGroup(
          kind: .attention(kvHeads: 2, headDim: 6), layers: [3, 5], slidingWindow: 128),
        LayoutGroup(kind: .opaque(bytesPerToken: 7), layers: [6]),
      ])
    let part = try #require(LayoutGeometry(layout).whole)
    var learner = try ProfileLearner(.wholeBasis, layout: layout, part: part)
    #expect(learner.bytesPerToken == 4 * (3 * 16 + 5 + 2 * 24) + 7)
    var numbers = Numbers(seed: 2)
    for _ in 0..<12 {
      let values = (0..<50 * 101).map { _ in numbers.normal() }
      let bytes = SyntheticKV.bytes(values) + [UInt8](repeating: 255, count: 350)
      try learner.feed(KVChunk(bytes: bytes, firstToken: 50, tokenCount: 50))
    }
    let profile = try Profile(validating: try learner.finish().bytes)
    #expect(profile.bases.map(\.firstLayerIndex) == [0, 0, 3, 3])
    #expect(profile.bases.map(\.channelCount) == [24, 24, 24, 24])
    #expect(profile.plane(layerIndex: 1, .layer)?.spreads.count == 5)
    #expect(profile.plane(layerIndex: 6, .layer) == nil)
  }

  @Test func productsThatDoNotFitAreSketchedWithinTheMemory() throws {
    let kv = try SyntheticKV(layers: 12, heads: 4, dim: 32, noise: 0.05)
    let chunks = Self.chunks(kv, 12, tokens: 32)
    var options = LearningOptions(for: .wholeBasis)
    let wide = try kv.learn(.wholeBasis, chunks, options: options)
    #expect(!wide.report.isSketched)
    options.memoryBytesMax = 24 << 20
    let (profile, report) = try kv.learn(.wholeBasis, chunks, options: options)
    #expect(report.isSketched && report.memoryBytes <= 24 << 20)
    #expect(wide.report.memoryBytes > 24 << 20)
    for (basis, whole) in zip(profile.bases, wide.profile.bases) {
      let learned = LearnedBasis(basis)
      #expect(learned.skew < 1e-3)
      for factor in 0..<3 {
        #expect(learned.share(of: kv.direction(factor, of: basis), first: 3) > 0.999)
      }
      for (first, second) in zip(basis.spreads.prefix(3), whole.spreads) {
        #expect(abs(first - second) < 0.01 * second)
      }
    }
  }

  @Test func memoryThatIsTooLittleIsRefusedBeforeTheFirstChunk() throws {
    let kv = try SyntheticKV(layers: 12, heads: 4, dim: 32)
    var options = LearningOptions(for: .groupedBasis)
    options.memoryBytesMax = 100_000
    do {
      _ = try ProfileLearner(
        .groupedBasis, layout: kv.layout, part: kv.part, options: options)
      Issue.record("learning began")
    } catch {
      guard case .memory(let needed, 100_000) = error else { throw error }
      #expect(needed > 100_000)
    }
  }

  @Test func rowsOfABasisAreLimited() throws {
    let kv = try SyntheticKV(noise: 1)
    var options = LearningOptions(for: .groupedBasis)
    options.rankMax = 2
    let (profile, _) = try kv.learn(.groupedBasis, Self.chunks(kv, 12), options: options)
    #expect(profile.bases.allSatisfy { $0.rank == 2 && $0.residual > 0.01 })
  }

  @Test func chunksOfAnotherLengthAreRefused() throws {
    let kv = try SyntheticKV()
    var learner = try ProfileLearner(.weights, layout: kv.layout, part: kv.part)
    for (bytes, tokens) in [([UInt8](repeating: 0, count: 191), 1), ([], 0)] {
      do {
        try learner.feed(KVChunk(bytes: bytes, firstToken: 0, tokenCount: tokens))
        Issue.record("learned from a chunk of another length")
      } catch {
        guard case .field(let fault) = error else { throw error }
        #expect(["byteCount", "tokenCount"].contains(fault.field))
      }
    }
  }

  @Test func nothingIsLearnedFromSinksAndBrokenChunksAlone() throws {
    let kv = try SyntheticKV()
    let nan = kv.chunk(tokens: 8, seed: 0, scale: .infinity)
    var learner = try ProfileLearner(.weights, layout: kv.layout, part: kv.part)
    try learner.feed(nan)
    try learner.feed(kv.chunk(tokens: 4, seed: 1, firstToken: 0))
    do {
      _ = try learner.finish()
      Issue.record("a profile of nothing")
    } catch {
      guard case .nothingLearned(let counts) = error else { throw error }
      #expect(counts.chunkCount == 2 && counts.nonFiniteChunkCount == 1)
    }
  }

  @Test func aLayoutWithoutAttentionHasNoBasis() throws {
    let layout = try Layout(
      elementType: .bf16,
      groups: [LayoutGroup(kind: .latent(rank: 4, ropeDim: 2), layers: [0])])
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    do {
      _ = try ProfileLearner(.groupedBasis, layout: layout, part: part)
      Issue.record("a basis of latents")
    } catch {
      guard case .noAttention = error else { throw error }
    }
    _ = try ProfileLearner(.weights, layout: layout, part: part)
  }
}
