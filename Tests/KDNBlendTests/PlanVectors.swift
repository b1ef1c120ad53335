import Foundation
import KDNBlend
import KDNCore

/// What a plan is asked for, in `Vectors/blend_plans.json`.
struct PlanRequest: Decodable, Sendable {
  struct Piece: Decodable, Sendable {
    let tokenCount: Int
    let slot: Int
    let drops: [[Int]]
    let scores: [Float]?
  }

  let pieces: [Piece]
  let firstPosition: Int
  let dropFirst: Bool
  let recomputePermille: Int
  let positionLimit: Int

  func plan() throws -> BlendPlan {
    try BlendPlan(
      pieces.map { piece in
        var drops = TokenSpans.none
        for span in piece.drops { drops = drops.union(try spans([span], field: "spans")) }
        return BlendPlan.Piece(
          tokenCount: piece.tokenCount, slot: piece.slot, drops: drops, scores: piece.scores)
      },
      firstPosition: firstPosition, dropFirst: dropFirst, recomputePermille: recomputePermille,
      positionLimit: positionLimit)
  }
}

/// Pairs of the vectors as spans.
func spans(_ pairs: [[Int]], field: StaticString = "span") throws -> TokenSpans {
  var ranges: [Range<Int>] = []
  for pair in pairs {
    guard pair[0] <= pair[1] else {
      throw FieldFault("\(field)", value: pair[0], limit: pair[1], "ends before it starts")
    }
    ranges.append(pair[0]..<pair[1])
  }
  return try TokenSpans(ranges, field: field)
}

/// Rows of `Vectors/blend_plans.json`.
struct PlanVectors: Decodable {
  struct Row: Decodable, Sendable {
    struct Placement: Decodable, Sendable {
      let firstPosition: Int
      let firstRow: Int
      let dropped: [[Int]]
      let recompute: [[Int]]
    }

    let name: String
    let request: PlanRequest
    let rowCount: Int
    let endPosition: Int
    let recomputeTokens: Int
    let placements: [Placement]
  }

  struct InvalidRow: Decodable, Sendable {
    let name: String
    let request: PlanRequest
    let field: String
  }

  let plans: [Row]
  let invalidPlans: [InvalidRow]

  static let shared: PlanVectors = {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Vectors/blend_plans.json")
    do {
      return try JSONDecoder().decode(PlanVectors.self, from: Data(contentsOf: path))
    } catch {
      fatalError("\(path.path): \(error)")
    }
  }()
}

/// A seeded generator, so that a failure can be repeated: SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// Ascending, disjoint runs inside `0..<tokens`, at most `most`; may be none.
  mutating func spans(inside tokens: Int, most: Int) throws -> TokenSpans {
    var bounds: Set<Int> = []
    for _ in 0..<Int.random(in: 0...2 * most, using: &self) {
      bounds.insert(Int.random(in: 0...tokens, using: &self))
    }
    let sorted = bounds.sorted()
    return try TokenSpans(
      stride(from: 0, to: sorted.count - 1, by: 2).map { sorted[$0]..<sorted[$0 + 1] })
  }
}
