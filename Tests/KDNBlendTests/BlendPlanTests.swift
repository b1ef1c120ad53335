import KDNBlend
import KDNCore
import Testing

@Suite("Plans of blends")
struct BlendPlanTests {
  @Test("are those that the vectors say", arguments: PlanVectors.shared.plans)
  func vectors(_ row: PlanVectors.Row) throws {
    let plan = try row.request.plan()
    #expect(plan.rowCount == row.rowCount)
    #expect(plan.endPosition == row.endPosition)
    #expect(plan.recomputeTokens == row.recomputeTokens)
    #expect(plan.placements.count == row.placements.count)
    for (placement, expected) in zip(plan.placements, row.placements) {
      #expect(placement.firstPosition == expected.firstPosition)
      #expect(placement.firstRow == expected.firstRow)
      #expect(try placement.dropped == spans(expected.dropped))
      #expect(try placement.recompute == spans(expected.recompute))
    }
  }

  @Test("that cannot be are refused by their field", arguments: PlanVectors.shared.invalidPlans)
  func faults(_ row: PlanVectors.InvalidRow) {
    let fault = #expect(throws: FieldFault.self) { _ = try row.request.plan() }
    #expect(fault?.field == row.field)
  }

  @Test("hold no more ranges than an answer carries")
  func ranges() throws {
    let holes = try TokenSpans((0..<1024).map { 2 * $0 + 2..<2 * $0 + 3 })
    let piece = BlendPlan.Piece(tokenCount: 4096, drops: holes)
    _ = try BlendPlan([piece], dropFirst: false)
    // The first token makes one range more, of each document but the first.
    #expect(
      #expect(throws: FieldFault.self) { _ = try BlendPlan([piece, piece]) }?.field == "dropped")
    let pieces = [BlendPlan.Piece](repeating: piece, count: 64)
    _ = try BlendPlan(pieces, dropFirst: false)
    let fault = #expect(throws: FieldFault.self) {
      _ = try BlendPlan(pieces, dropFirst: false, recomputePermille: 1)
    }
    #expect(fault?.field == "ranges")
  }

  @Test("of 10,000 random requests cover each kept token once", arguments: 0..<10)
  func properties(_ seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var planned = 0
    while planned < 1000 {
      var pieces: [BlendPlan.Piece] = []
      let isScored = Bool.random(using: &random)
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let count = Int.random(in: 1...40, using: &random)
        let scores = (0..<count).map { _ in Float(Int.random(in: 0...9, using: &random)) }
        pieces.append(
          BlendPlan.Piece(
            tokenCount: count,
            slot: Bool.random(using: &random) ? 0 : count + Int.random(in: 0...9, using: &random),
            drops: try random.spans(inside: count, most: 3), scores: isScored ? scores : nil))
      }
      let first = Int.random(in: 0...100, using: &random)
      let permille = Int.random(in: 0...1000, using: &random)
      let dropFirst = Bool.random(using: &random)
      do {
        let plan = try BlendPlan(
          pieces, firstPosition: first, dropFirst: dropFirst, recomputePermille: permille)
        check(plan, of: pieces, first, dropFirst, permille)
        planned += 1
      } catch {
        #expect(error.field == "document", "\(pieces)")
        #expect(
          pieces.enumerated().contains { index, piece in
            let dropped = dropFirst && index > 0 ? piece.drops.union(.first) : piece.drops
            return dropped.tokenCount == piece.tokenCount
          })
      }
    }
  }

  /// What holds for each plan, worked out token by token.
  private func check(
    _ plan: BlendPlan, of pieces: [BlendPlan.Piece], _ first: Int, _ dropFirst: Bool,
    _ permille: Int
  ) {
    var (row, slotStart, last, recomputed, room) = (0, first, -1, 0, 0)
    #expect(plan.placements.count == pieces.count)
    for (index, (piece, placement)) in zip(pieces, plan.placements).enumerated() {
      #expect(placement.firstPosition == slotStart && placement.firstRow == row)
      let again = Set(placement.recompute.ranges.joined())
      var kept: [Int] = []
      for token in 0..<piece.tokenCount {
        let isHole =
          dropFirst && index > 0 && token == 0
          || piece.drops.ranges.contains { $0.contains(token) }
        #expect(isHole == placement.dropped.ranges.contains { $0.contains(token) })
        #expect(!again.contains(token) || (!isHole && index > 0))
        if isHole { continue }
        kept.append(token)
        #expect(slotStart + token > last, "positions strictly increase")
        last = slotStart + token
        row += 1
      }
      #expect(Array(placement.kept.ranges.joined()) == kept && placement.rowCount == kept.count)
      if index > 0 { room += kept.count }
      if pieces.dropFirst().allSatisfy({ $0.scores != nil }) {
        check(placement, piece, kept, again)
      } else {
        #expect(kept.prefix(again.count).elementsEqual(again.sorted()), "the first of each")
      }
      recomputed += again.count
      slotStart += piece.slot == 0 ? piece.tokenCount : piece.slot
    }
    #expect(plan.rowCount == row && plan.endPosition == slotStart && last < slotStart)
    #expect(plan.recomputeTokens == recomputed)
    #expect(recomputed == min(room, (permille * row + 999) / 1000), "the budget, as far as it goes")
  }

  /// Within a piece no token is chosen before one of a higher score, or an equal one before it.
  private func check(
    _ placement: BlendPlan.Placement, _ piece: BlendPlan.Piece, _ kept: [Int], _ again: Set<Int>
  ) {
    guard let scores = piece.scores else { return }
    let ranked = kept.sorted { (-scores[$0], $0) < (-scores[$1], $1) }
    #expect(Set(ranked.prefix(again.count)) == again)
  }

  @Test("stay within the original context where frequencies depend on the length")
  func positionLimit() throws {
    func limit(_ rope: RoPE?) throws -> Int {
      try Layout(
        elementType: .bf16,
        groups: [LayoutGroup(kind: .attention(kvHeads: 1, headDim: 8), layers: [0], rope: rope)]
      ).positionLimit
    }
    #expect(try limit(nil) == 1 << 31)
    #expect(try limit(RoPE(theta: 1e4, rotaryDims: 8)) == 1 << 31)
    #expect(
      try limit(RoPE(theta: 1e4, scaling: .dynamic, rotaryDims: 8, factors: [2, 4096])) == 4096)
    let long = [8, 2048, 1.2] + [Double](repeating: 1, count: 8)
    #expect(try limit(RoPE(theta: 1e4, scaling: .longrope, rotaryDims: 8, factors: long)) == 2048)
    for (factor, expected) in [(-1.0, 0), (1e300, 1 << 31)] {
      let rope = RoPE(theta: 1e4, scaling: .dynamic, rotaryDims: 8, factors: [2, factor])
      #expect(try limit(rope) == expected)
    }
    let none = #expect(throws: FieldFault.self) {
      _ = try BlendPlan([BlendPlan.Piece(tokenCount: 1)], positionLimit: 0)
    }
    #expect(none?.field == "position")
  }
}
