import KDNBlend
import KDNCore
import Testing

@Suite("Recipes of edits")
struct EditRecipeTests {
  private static let strengths: [Float] = [0.25, 0.5, 1, 1.5, 2]

  /// Operations whose products stay below the limit.
  private func operations(
    _ tokens: Int, using random: inout SeededGenerator
  ) throws -> [EditOperation] {
    var operations: [EditOperation] = []
    for _ in 0..<Int.random(in: 0...4, using: &random) {
      let spans = try random.spans(inside: tokens, most: 4)
      guard spans.count > 0 else { continue }
      let strength = Self.strengths[Int.random(in: 0..<Self.strengths.count, using: &random)]
      switch Int.random(in: 0..<3, using: &random) {
      case 0: operations.append(.scaleKeys(strength, spans))
      case 1: operations.append(.scaleValues(-strength, spans))
      default: operations.append(.drop(spans))
      }
    }
    return operations
  }

  /// What the operations do to one token: nil if it is dropped.
  private func effect(_ operations: [EditOperation], on token: Int) -> (Float, Float)? {
    var (key, value): (Float, Float) = (1, 1)
    for operation in operations {
      switch operation {
      case .scaleKeys(let strength, let spans) where spans.ranges.contains { $0.contains(token) }:
        key *= strength
      case .scaleValues(let strength, let spans) where spans.ranges.contains { $0.contains(token) }:
        value *= strength
      case .drop(let spans) where spans.ranges.contains { $0.contains(token) }: return nil
      default: break
      }
    }
    return (key, value)
  }

  private func strength(_ runs: [EditRecipe.Run], of token: Int) -> Float {
    runs.first { $0.tokens.contains(token) }?.strength ?? 1
  }

  @Test("do to each token what their operations do, in rows without a gap", arguments: 0..<10)
  func properties(_ seed: UInt64) throws {
    var random = SeededGenerator(seed: 1000 + seed)
    var made = 0
    while made < 200 {
      let tokens = Int.random(in: 2...50, using: &random)
      let operations = try operations(tokens, using: &random)
      guard let recipe = try? EditRecipe(operations, tokenCount: tokens) else {
        #expect((0..<tokens).allSatisfy { effect(operations, on: $0) == nil })
        continue
      }
      made += 1
      let front = BlendPlan.Piece(tokenCount: 7)
      guard
        let plan = try? BlendPlan([front, .init(tokenCount: tokens, drops: recipe.drops)])
      else { continue }
      var row = 7
      var next = 0
      for run in plan.placements[1].runs {
        #expect(run.firstRow == row && !run.tokens.isEmpty && run.tokens.lowerBound >= next)
        for token in next..<run.tokens.lowerBound {
          #expect(token == 0 || effect(operations, on: token) == nil, "only holes are left out")
        }
        for token in run.tokens {
          let expected = try #require(effect(operations, on: token))
          #expect(strength(recipe.keys, of: token) == expected.0)
          #expect(strength(recipe.values, of: token) == expected.1)
        }
        row += run.tokens.count
        next = run.tokens.upperBound
      }
      #expect(row == plan.rowCount)
    }
  }

  @Test("that do the same have one hash, and others another")
  func hashes() throws {
    func hash(_ operations: EditOperation...) throws -> ChunkHash {
      try EditRecipe(operations, tokenCount: 20).hash
    }
    func run(_ ranges: Range<Int>...) throws -> TokenSpans { try TokenSpans(ranges) }
    let empty = try hash()
    #expect(try EditRecipe(tokenCount: 20).isEmpty)
    #expect(try hash(.scaleKeys(1, run(0..<20))) == empty)
    #expect(try hash(.scaleKeys(2, run(3..<9)), .scaleKeys(0.5, run(3..<9))) == empty)
    let drop = try hash(.drop(run(3..<9)))
    #expect(try hash(.drop(run(3..<5)), .drop(run(5..<9))) == drop)
    #expect(try hash(.drop(run(3..<5, 5..<9))) == drop)
    #expect(try hash(.scaleKeys(2, run(4..<6)), .drop(run(3..<9))) == drop)
    let keys = try hash(.scaleKeys(2, run(3..<9)))
    #expect(try hash(.scaleKeys(2, run(3..<5)), .scaleKeys(2, run(5..<9))) == keys)
    let others = [
      empty, drop, keys, try hash(.scaleValues(2, run(3..<9))),
      try hash(.scaleKeys(1.5, run(3..<9))), try hash(.scaleKeys(2, run(3..<10))),
      try hash(.scaleKeys(2, run(3..<9)), .scaleValues(2, run(3..<9))),
    ]
    #expect(Set(others).count == others.count)
  }

  @Test("name the smallest class of all, wherever it stands")
  func classes() throws {
    let keys = EditOperation.scaleKeys(2, try TokenSpans([3..<9]))
    func recipe(_ operations: [EditOperation]) throws -> EditRecipe {
      try EditRecipe(operations, tokenCount: 20)
    }
    let small = try recipe([.requantise(.high), keys, .requantise(.small), .requantise(.balanced)])
    #expect(small.codec == .small && !small.isEmpty && small.changesChunks)
    #expect(try recipe([.requantise(.small), keys]).hash == small.hash)
    #expect(try recipe([keys, .requantise(.archive)]).hash != small.hash)
    #expect(try recipe([keys]).hash != small.hash)
    #expect(try !recipe([.requantise(.high)]).isEmpty)
    #expect(try !recipe([.drop(TokenSpans([3..<9]))]).changesChunks)
    // What was before there were classes has the bytes and the name that it had.
    #expect(
      try recipe([keys]).canonicalEncoding + [PayloadCodec.small.rawValue]
        == small.canonicalEncoding)
    let profile = HashChain.opaque([1])
    #expect(small.hash(by: .none) == small.hash && small.hash(by: profile) != small.hash)
    #expect(throws: FieldFault.self) { try recipe([.requantise(.exact)]) }
  }

  @Test("that cannot be are refused by the field at fault")
  func faults() throws {
    func field(_ operations: [EditOperation]) -> String? {
      do {
        _ = try EditRecipe(operations, tokenCount: 8)
        return nil
      } catch {
        return error.field
      }
    }
    let all = try TokenSpans([0..<8])
    #expect(field([.drop(try TokenSpans([3..<9]))]) == "span")
    #expect(field([.drop(.none)]) == "spanCount")
    #expect(field([.drop(all)]) == "document")
    #expect(field([.keep(permille: 500, scores: [Float](repeating: 1, count: 8))]) == "permille")
    #expect(field([.keep(permille: 500, scores: [1])]) == "scoreCount")
    #expect(field([.scaleKeys(0, all)]) == "strength")
    #expect(field([.scaleKeys(.nan, all)]) == "strength")
    #expect(field([.scaleValues(.infinity, all)]) == "strength")
    let four = EditOperation.scaleKeys(4, all)
    #expect(field([four, four]) == nil)
    #expect(field([four, four, .scaleKeys(1.25, all)]) == "strength")
    #expect(field([EditOperation](repeating: four, count: 64)) == "strength")
    #expect(field([EditOperation](repeating: .scaleKeys(1, all), count: 65)) == "count")
  }
}

@Suite("Names of blends")
struct BlendIdentityTests {
  @Test("tell apart all that decides the bytes")
  func distinct() throws {
    let recipe = try EditRecipe(tokenCount: 5).hash
    let other = try EditRecipe([.drop(.first)], tokenCount: 5).hash
    let last = HashChain.opaque([1])
    func piece(
      _ lastHash: ChunkHash? = nil, tokens: Int = 5, width: Int = 5, recipe used: ChunkHash? = nil
    ) -> BlendIdentity.Piece {
      BlendIdentity.Piece(
        lastHash: lastHash ?? last, tokenCount: tokens, width: width, recipe: used ?? recipe)
    }
    func hash(
      _ pieces: [BlendIdentity.Piece], layout: [UInt8] = [1], dropFirst: Bool = true,
      firstPosition: Int = 0
    ) -> ChunkHash {
      BlendIdentity(
        layout: LayoutID(ofCanonicalEncoding: layout), dropFirst: dropFirst,
        firstPosition: firstPosition, pieces: pieces
      ).hash
    }
    let hashes = [
      hash([piece()]), hash([piece(), piece()]), hash([piece()], layout: [2]),
      hash([piece()], dropFirst: false), hash([piece()], firstPosition: 1),
      hash([piece(HashChain.opaque([2]))]), hash([piece(tokens: 4)]), hash([piece(width: 6)]),
      hash([piece(recipe: other)]), hash([piece(), piece(recipe: other)]),
      hash([piece(recipe: other), piece()]),
    ]
    #expect(Set(hashes).count == hashes.count)
    #expect(hash([piece()]) == hashes[0])
  }

  @Test("are SHA-256 of the encoding that the document of formats spells")
  func golden() throws {
    let identity = BlendIdentity(
      layout: .none, dropFirst: true, firstPosition: 7,
      pieces: [.init(lastHash: .none, tokenCount: 5, width: 9, recipe: .none)])
    var expected = Array("kdn/1/blend".utf8) + [UInt8](repeating: 0, count: 16)
    expected += [1, 7, 0, 0, 0, 1, 0, 0, 0] + [UInt8](repeating: 0, count: 32)
    expected += [5, 0, 0, 0, 9, 0, 0, 0] + [UInt8](repeating: 0, count: 32)
    #expect(identity.canonicalEncoding == expected)
    #expect(identity.hash == HashChain.opaque(expected))
    #expect(
      try EditRecipe(tokenCount: 3).canonicalEncoding
        == Array("kdn/1/edits".utf8) + [UInt8](repeating: 0, count: 12))
  }
}
