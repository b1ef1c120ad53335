import KDNCodec
import KDNCore
import Testing

@testable import KDNProfile

@Suite struct ProfileLearnerTests {
  private static func chunks(_ kv: SyntheticKV, _ count: Int, tokens: Int = 64) -> [KVChunk] {
    (0..<count).map { kv.chunk(tokens: tokens, seed: UInt64(100 + $0)) }
  }

  @Test(arguments: [Profile.Kind.groupedBasis, .wholeBasis])
  func theDirectionsOfHiddenFactorsAreFound(_ kind: Profile.Kind) throws {
    let kv = try SyntheticKV()
    let (profile, report) = try kv.learn(kind, Self.chunks(kv, 20))
    #expect(profile.kind == kind && profile.tokenCount == 20 * 64)
    #expect(report.tokenCount == 20 * 64 && report.chunkCount == 20 && !report.isCalibrated)
    #expect(profile.bases.count == 2)
    for basis in profile.bases {
      let learned = LearnedBasis(basis)
      #expect(basis.channelCount == 3 * 8)
      for factor in 0..<3 {
        #expect(learned.share(of: kv.direction(factor, of: basis), first: 3) > 0.999)
      }
      #expect(basis.spreads[2] > 10 * (basis.spreads.count > 3 ? basis.spreads[3] : 0))
      #expect(basis.residual < 0.01)
    }
  }

  @Test func meansSpreadsAndUnitsAreThoseOfTheChannels() throws {
    let kv = try SyntheticKV(layers: 2)
    let (profile, _) = try kv.learn(.weights, Self.chunks(kv, 40, tokens: 256))
    #expect(profile.bases.isEmpty)
    for layer in 0..<2 {
      for plane in [Plane.keys, .values] {
        let known = try #require(profile.plane(layerIndex: layer, plane))
        #expect(Set(known.weights).count == 1)
        for channel in 0..<8 {
          let parts = zip(kv.factors, kv.mixing[layer][Int(plane.rawValue)][channel])
          let spread = parts.reduce(Float(0)) { $0 + ($1.0 * $1.1) * ($1.0 * $1.1) }.squareRoot()
          #expect(abs(known.spreads[channel] - spread) < 0.05 * spread)
          let mean = SyntheticKV.mean(layer, Int(plane.rawValue), channel)
          #expect(abs(known.means[channel] - mean) < 0.05 * spread + 0.01)
        }
      }
    }
  }

  @Test func aStepIsToldInSpreadsWhateverTheScaleOfTheModel() throws {
    let kv = try SyntheticKV(layers: 2)
    for scale: Float in [0.01, 1, 50] {
      let chunks = (0..<20).map {
        kv.chunk(tokens: 256, seed: UInt64($0), scale: scale)
      }
      let (profile, _) = try kv.learn(.weights, chunks)
      var product = 1.0
      for layer in 0..<2 {
        for plane in [Plane.keys, .values] {
          let known = try #require(profile.plane(layerIndex: layer, plane))
          for (spread, unit) in zip(known.spreads, known.weights) {
            product *= Double(spread / unit)
          }
        }
      }
      #expect(abs(product - 1) < 0.1)
    }
  }

  @Test func rowsStayOrthonormalWhenTheyAreRounded() throws {
    let kv = try SyntheticKV(layers: 6, heads: 2, dim: 8, noise: 1)
    var options = LearningOptions(for: .groupedBasis)
    options.spreadMin = 0
    let (profile, _) = try kv.learn(.groupedBasis, Self.chunks(kv, 20), options: options)
    for basis in profile.bases {
      let learned = LearnedBasis(basis)
      #expect(basis.rank == 96)
      #expect(learned.skew < 2e-4)
      // As many steps as the first coefficient of the finest class may have, in 6 spreads.
      let steps = Int(6 * basis.spreads[0] / 0.25)
      #expect(learned.columnSumMax * steps < 1 << 31)
      #expect(learned.columnSumMax <= Int(Float(96).squareRoot() * 32_768) + 96)
    }
  }

  @Test func theSameChunksGiveTheSameBytes() throws {
    let kv = try SyntheticKV()
    let chunks = Self.chunks(kv, 12)
    let first = try kv.learn(.groupedBasis, chunks).profile
    #expect(try kv.learn(.groupedBasis, chunks).profile.hash == first.hash)
    #expect(try kv.learn(.groupedBasis, Self.chunks(kv, 13)).profile.hash != first.hash)
  }

  @Test func theOrderOfChunksDoesNotMatter() throws {
    let kv = try SyntheticKV(noise: 0.3)
    let chunks = Self.chunks(kv, 40)
    let forward = try kv.learn(.groupedBasis, chunks).profile
    let backward = try kv.learn(.groupedBasis, chunks.reversed()).profile
    for (left, right) in zip(forward.bases, backward.bases) {
      #expect(left.rank == right.rank)
      for (first, second) in zip(left.spreads.prefix(3), right.spreads) {
        #expect(abs(first - second) < 1e-3 * first)
      }
      let other = LearnedBasis(right)
      for row in LearnedBasis(left).rows.prefix(3) {
        #expect(other.share(of: row, first: 3) > 0.9999)
      }
      for (first, second) in zip(left.means, right.means) { #expect(abs(first - second) < 1e-3) }
    }
  }

  @Test(arguments: [0, 5, 30])
  func aBrokenChunkDoesNotSpoilTheBasis(at index: Int) throws {
    let kv = try SyntheticKV()
    var chunks = Self.chunks(kv, 31)
    let clean = try kv.learn(.groupedBasis, chunks).profile
    chunks[index] = kv.chunk(tokens: 64, seed: 999, scale: 1e4)
    let (profile, report) = try kv.learn(.groupedBasis, chunks)
    #expect(report.brokenPieceCount == 2)
    for (basis, wanted) in zip(profile.bases, clean.bases) {
      for factor in 0..<3 {
        let direction = kv.direction(factor, of: basis)
        #expect(LearnedBasis(basis).share(of: direction, first: 3) > 0.999)
      }
      for (first, second) in zip(basis.spreads.prefix(3), wanted.spreads) {
        #expect(abs(first - second) < 0.1 * second)
      }
    }
  }

  @Test func aFewTokensFarOutsideCountLittle() throws {
    let kv = try SyntheticKV(layers: 1)
    var chunks = Self.chunks(kv, 20)
    let clean = try kv.learn(.weights, chunks).profile
    // One token of 64 a thousand times too large, in all planes.
    let (wild, tame) = (kv.chunk(tokens: 64, seed: 5, scale: 1000), kv.chunk(tokens: 64, seed: 5))
    let tokenBytes = kv.dim * 4
    let mixed = tame.bytes.indices.map { index in
      index / tokenBytes % 64 == 17 ? wild.bytes[index] : tame.bytes[index]
    }
    chunks.append(KVChunk(bytes: mixed, firstToken: 4, tokenCount: 64))
    let (profile, report) = try kv.learn(.weights, chunks)
    #expect(report.brokenPieceCount == 0 && report.outlierShare > 0)
    for plane in [Plane.keys, .values] {
      let known = try #require(profile.plane(layerIndex: 0, plane))
      let wanted = try #require(clean.plane(layerIndex: 0, plane))
      for (left, right) in zip(known.spreads, wanted.spreads) {
        #expect(abs(left - right) < 0.05 * right)
      }
    }
  }

  @Test func chunksWithNumbersThatAreNotFiniteAreLeftOut() throws {
    let kv = try SyntheticKV()
    let chunks = Self.chunks(kv, 12)
    let clean = try kv.learn(.groupedBasis, chunks).profile
    var bytes = kv.chunk(tokens: 64, seed: 1).bytes
    bytes.replaceSubrange(bytes.count - 4..<bytes.count, with: [0, 0, 0xC0, 0x7F])
    let broken = KVChunk(bytes: bytes, firstToken: 4, tokenCount: 64)
    let (profile, report) = try kv.learn(.groupedBasis, [broken] + chunks)
    #expect(profile.hash == clean.hash)
    #expect(report.nonFiniteChunkCount == 1 && report.chunkCount == 13)
  }

  @Test func attentionSinksAreLeftOut() throws {
    let kv = try SyntheticKV()
    var learner = try ProfileLearner(.weights, layout: kv.layout, part: kv.part)
    for (first, tokens, left) in [(0, 64, 60), (2, 64, 122), (0, 3, 122), (3, 1, 122), (4, 1, 123)]
      as [(UInt64, Int, Int)]
    {
      try learner.feed(kv.chunk(tokens: tokens, seed: first, firstToken: first))
      #expect(learner.report.tokenCount == left)
    }
  }
}
