import KDNBlend
import KDNCore

// Plans and recipes: each token that is kept has one row, positions ascend, what is computed anew
// is kept and within the budget, and a recipe does to each token what its operations do. Input: u8
// flags, u16 permille, u16 first position, u8 pieces, for each u16 tokens (11 bits) and u16 slot,
// then operations as they are encoded, which all belong to the last piece.

private func operations(_ bytes: [UInt8]) -> [EditOperation] {
  var reader = ByteReader(bytes)
  var operations: [EditOperation] = []
  while reader.remaining > 0, let next = try? EditOperation(from: &reader) {
    operations.append(next)
    if operations.count > EditOperation.countMax { break }
  }
  return operations
}

private func check(_ recipe: EditRecipe, _ placement: BlendPlan.Placement) {
  var row = placement.firstRow
  var next = 0
  for run in placement.runs {
    precondition(run.firstRow == row && run.tokens.lowerBound >= next && !run.tokens.isEmpty)
    row += run.tokens.count
    next = run.tokens.upperBound
  }
  for run in recipe.keys + recipe.values {
    precondition(abs(run.strength) <= EditRecipe.productMax && !run.tokens.isEmpty)
    precondition(!recipe.drops.ranges.contains { $0.overlaps(run.tokens) })
  }
  precondition(row == placement.firstRow + placement.rowCount, "each kept token has a row")
}

private func check(_ plan: BlendPlan, budget permille: Int, firstPosition: Int) {
  var (row, position) = (0, firstPosition)
  for (index, placement) in plan.placements.enumerated() {
    precondition(placement.firstRow == row && placement.firstPosition >= position)
    precondition(placement.rowCount > 0 && placement.kept.tokenCount == placement.rowCount)
    precondition(!placement.kept.intersects(placement.dropped))
    precondition(!placement.recompute.intersects(placement.dropped))
    precondition(placement.recompute.end <= placement.tokenCount)
    precondition(index > 0 || placement.recompute.count == 0)
    row += placement.rowCount
    position = placement.firstPosition + placement.tokenCount
  }
  precondition(row == plan.rowCount && position <= plan.endPosition)
  precondition(plan.endPosition <= BlendPlan.positionLimitMax)
  precondition(plan.recomputeTokens <= (permille * row + 999) / 1000)
}

/// Runs one input; libFuzzer calls it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var input = FuzzInput(data, size)
  let flags = input.byte()
  let permille = input.number()
  let first = flags & 2 == 0 ? input.number() : input.number() << 16
  var sizes: [(tokens: Int, slot: Int)] = []
  for _ in 0..<input.byte() % 70 { sizes.append((input.number() & 0x7ff, input.number())) }
  let edits = operations(input.rest())
  do {
    let recipe = try EditRecipe(edits, tokenCount: sizes.last?.tokens ?? 0)
    let pieces = sizes.enumerated().map { index, size in
      BlendPlan.Piece(
        tokenCount: size.tokens, slot: size.slot,
        drops: index == sizes.count - 1 ? recipe.drops : .none,
        scores: flags & 4 == 0 ? nil : (0..<size.tokens).map { Float($0 * 7919 % 101) })
    }
    let plan = try BlendPlan(
      pieces, firstPosition: first, dropFirst: flags & 1 == 1, recomputePermille: permille)
    check(plan, budget: permille, firstPosition: first)
    if let last = plan.placements.last { check(recipe, last) }
    let again = try EditRecipe(edits, tokenCount: recipe.tokenCount)
    precondition(again.hash == recipe.hash)
  } catch {
    precondition(!error.field.isEmpty, "a fault names its field")
  }
  return 0
}
