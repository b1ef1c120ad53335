internal import KDNCore

/// Tokens of a document that stand in neighbouring rows and are treated alike.
package struct RowRun: Hashable, Sendable {
  /// Tokens of the document.
  package let tokens: Range<Int>
  /// Row of the first of them in the assembled KV.
  package let firstRow: Int
  /// By what their keys are multiplied.
  package let keyStrength: Float
  /// By what their values are multiplied.
  package let valueStrength: Float
}

extension BlendPlan.Placement {
  /// The kept tokens in order, split where the recipe treats them otherwise.
  ///
  /// Each is a copy of neighbouring tokens to neighbouring rows; a reader of one chunk takes the
  /// part of a run that lies in it.
  package func runs(_ recipe: EditRecipe) -> [RowRun] {
    precondition(recipe.tokenCount == tokenCount, "a recipe is for one document")
    var cuts: Set<Int> = []
    for run in recipe.keys + recipe.values {
      cuts.insert(run.tokens.lowerBound)
      cuts.insert(run.tokens.upperBound)
    }
    var inner = cuts.sorted()[...]
    var (keys, values) = (recipe.keys[...], recipe.values[...])
    var runs: [RowRun] = []
    var row = firstRow
    for span in kept.ranges {
      var start = span.lowerBound
      while start < span.upperBound {
        while let cut = inner.first, cut <= start { inner.removeFirst() }
        let end = min(span.upperBound, inner.first ?? span.upperBound)
        runs.append(
          RowRun(
            tokens: start..<end, firstRow: row, keyStrength: Self.strength(of: start, in: &keys),
            valueStrength: Self.strength(of: start, in: &values)))
        row += end - start
        start = end
      }
    }
    return runs
  }

  private static func strength(
    of token: Int, in runs: inout ArraySlice<EditRecipe.Run>
  ) -> Float {
    while let run = runs.first, run.tokens.upperBound <= token { runs.removeFirst() }
    guard let run = runs.first, run.tokens.contains(token) else { return 1 }
    return run.strength
  }
}
