package import KDNCore

/// Where the tokens of several documents go in one prompt, and which should be computed anew.
///
/// Integers only, no KV: the Python client makes the same plan of the same pieces. A row is the
/// index of a kept token in the assembled KV, a position its place for RoPE. Dropped tokens leave
/// holes: the positions behind them stay as they are.
package struct BlendPlan: Hashable, Sendable {
  /// One document in a blend.
  package struct Piece: Hashable, Sendable {
    /// Tokens of the document.
    package let tokenCount: Int
    /// Positions reserved for it; 0 for as many as it has tokens.
    package let slot: Int
    /// Tokens that its edits leave out.
    package let drops: TokenSpans
    /// How much each token gains by being computed anew; nil if nobody knows.
    package let scores: [Float]?

    /// Describes a document; the plan checks it.
    package init(
      tokenCount: Int, slot: Int = 0, drops: TokenSpans = .none, scores: [Float]? = nil
    ) {
      self.tokenCount = tokenCount
      self.slot = slot
      self.drops = drops
      self.scores = scores
    }

    /// Positions that it takes.
    package var width: Int { slot == 0 ? tokenCount : slot }
  }

  /// Where a document went; spans are of its own tokens, neighbouring ones joined.
  package struct Placement: Hashable, Sendable {
    /// Tokens of the document.
    package let tokenCount: Int
    /// Position of its token 0, kept or not: how far its keys, made from position 0, have to move.
    package let firstPosition: Int
    /// Row of its first kept token.
    package let firstRow: Int
    /// Tokens left out.
    package let dropped: TokenSpans
    /// Kept tokens that should be computed anew.
    package internal(set) var recompute: TokenSpans

    /// Tokens not left out.
    package var kept: TokenSpans { dropped.complement(in: tokenCount) }
    /// How many tokens are not left out.
    package var rowCount: Int { tokenCount - dropped.tokenCount }
  }

  /// Where each piece went, in order.
  package let placements: [Placement]
  /// Tokens of the assembled KV.
  package let rowCount: Int
  /// The position behind the last slot.
  package let endPosition: Int

  /// Most documents of a blend.
  package static let piecesMax = 64
  /// Most ranges that a placement drops, and most that it recomputes.
  package static let rangesMax = 1024
  /// Most ranges over all placements.
  package static let allRangesMax = 1 << 16
  /// Positions are below this.
  package static let positionLimitMax = 1 << 31

  /// How many tokens should be computed anew.
  package var recomputeTokens: Int {
    placements.reduce(0) { $0 + $1.recompute.tokenCount }
  }

  /// Places the pieces one behind the other from `firstPosition` on.
  ///
  /// `dropFirst` leaves out token 0 of every piece but the first, an attention sink too many. The
  /// budget of tokens to recompute is `recomputePermille` of all rows, rounded up. The first piece
  /// needs none: it was computed with nothing before it, as it stands here. If every other piece
  /// has scores, the highest are chosen, of equal ones those at lower positions; else the first of
  /// each piece. Positions stay below `positionLimit`: see `Layout.positionLimit`.
  ///
  /// - Throws: a fault that names `count`, `recomputePermille`, `position`, `tokenCount`, `slot`,
  ///   `spans`, `scores`, `document` (nothing is kept of one), `dropped`, `recompute` or `ranges`
  ///   (more ranges than an answer carries).
  package init(
    _ pieces: [Piece], firstPosition: Int = 0, dropFirst: Bool = true, recomputePermille: Int = 0,
    positionLimit: Int = positionLimitMax
  ) throws(FieldFault) {
    guard (1...Self.piecesMax).contains(pieces.count) else {
      throw FieldFault(
        "count", value: pieces.count, limit: Self.piecesMax, "must be 1 to 64 documents")
    }
    guard (0...1000).contains(recomputePermille) else {
      throw FieldFault("recomputePermille", value: recomputePermille, limit: 1000, "too many")
    }
    let limit = min(positionLimit, Self.positionLimitMax)
    guard (0..<max(limit, 0)).contains(firstPosition) else {
      throw FieldFault("position", value: firstPosition, limit: limit, "beyond the last position")
    }
    var (position, row) = (firstPosition, 0)
    var placements: [Placement] = []
    placements.reserveCapacity(pieces.count)
    for (index, piece) in pieces.enumerated() {
      let dropped = try piece.dropped(first: dropFirst && index > 0)
      let placement = Placement(
        tokenCount: piece.tokenCount, firstPosition: position, firstRow: row, dropped: dropped,
        recompute: .none)
      placements.append(placement)
      row += placement.rowCount
      position += piece.width
      guard position <= limit else {
        throw FieldFault(
          "position", value: position - 1, limit: limit, "beyond the last position")
      }
    }
    let budget = (recomputePermille * row + 999) / 1000
    try Recompute(pieces: pieces, budget: budget).choose(in: &placements)
    let ranges = placements.reduce(0) { $0 + $1.dropped.count + $1.recompute.count }
    guard ranges <= Self.allRangesMax else {
      throw FieldFault(
        "ranges", value: ranges, limit: Self.allRangesMax, "too many over all documents")
    }
    self.placements = placements
    rowCount = row
    endPosition = position
  }
}

extension BlendPlan.Piece {
  /// What is left out, `first` token included if asked; a fault where the piece cannot be placed.
  fileprivate func dropped(first: Bool) throws(FieldFault) -> TokenSpans {
    guard (1...Int(UInt32.max)).contains(tokenCount) else {
      throw FieldFault(
        "tokenCount", value: tokenCount, limit: Int(UInt32.max), "too few or too many")
    }
    guard slot == 0 || (tokenCount...Int(UInt32.max)).contains(slot) else {
      throw FieldFault("slot", value: slot, limit: tokenCount, "shorter than its document")
    }
    guard drops.end <= tokenCount else {
      throw FieldFault("spans", value: drops.end, limit: tokenCount, "reaches beyond the tokens")
    }
    if let scores {
      guard scores.count == tokenCount else {
        throw FieldFault(
          "scores", value: scores.count, limit: tokenCount, "must be one for each token")
      }
      for score in scores where !score.isFinite {
        throw FieldFault("scores", value: UInt64(score.bitPattern), limit: 0, "must be finite")
      }
    }
    let dropped = first ? drops.union(.first) : drops.union(.none)
    guard dropped.tokenCount < tokenCount else {
      throw FieldFault("document", value: 0, limit: tokenCount, "nothing of it is kept")
    }
    guard dropped.count <= BlendPlan.rangesMax else {
      throw FieldFault(
        "dropped", value: dropped.count, limit: BlendPlan.rangesMax, "too many ranges")
    }
    return dropped
  }
}
