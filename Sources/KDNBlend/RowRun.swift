internal import KDNCore

/// Tokens of a document that stand in neighbouring rows.
package struct RowRun: Hashable, Sendable {
  /// Tokens of the document.
  package let tokens: Range<Int>
  /// Row of the first of them in the assembled KV.
  package let firstRow: Int
}

extension BlendPlan.Placement {
  /// The kept tokens in order.
  ///
  /// Each is a copy of neighbouring tokens to neighbouring rows; a reader of one chunk takes the
  /// part of a run that lies in it.
  package var runs: [RowRun] {
    var row = firstRow
    return kept.ranges.map { tokens in
      defer { row += tokens.count }
      return RowRun(tokens: tokens, firstRow: row)
    }
  }
}
