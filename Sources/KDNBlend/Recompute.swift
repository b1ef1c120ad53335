internal import KDNCore

/// Chooses the tokens of a blend that are to be computed anew.
struct Recompute {
  let pieces: [BlendPlan.Piece]
  /// How many tokens may be chosen.
  let budget: Int

  /// Fills in what is chosen of all placements but the first.
  func choose(in placements: inout [BlendPlan.Placement]) throws(FieldFault) {
    guard budget > 0, placements.count > 1 else { return }
    let chosen: [TokenSpans]
    if let scores = allScores {
      chosen = highest(scores, placements)
    } else {
      let shares = Self.shares(of: budget, rooms: placements.dropFirst().map(\.rowCount))
      chosen = zip(placements.dropFirst(), shares).map { $0.kept.prefix($1) }
    }
    for (index, spans) in chosen.enumerated() {
      guard spans.count <= BlendPlan.rangesMax else {
        throw FieldFault(
          "recompute", value: spans.count, limit: BlendPlan.rangesMax, "too many ranges")
      }
      placements[index + 1].recompute = spans
    }
  }

  /// Scores of the pieces behind the first, if each of them has some.
  private var allScores: [[Float]]? {
    var all: [[Float]] = []
    for piece in pieces.dropFirst() {
      guard let scores = piece.scores else { return nil }
      all.append(scores)
    }
    return all
  }

  /// Shares a budget evenly, what is left over to earlier ones; who is full passes on the rest.
  ///
  /// In rounds: the rest is divided among those with room, the remainder goes one each to the first
  /// of them, and nobody takes more than there is room for.
  static func shares(of budget: Int, rooms: [Int]) -> [Int] {
    var shares = [Int](repeating: 0, count: rooms.count)
    var rest = min(budget, rooms.reduce(0, +))
    while rest > 0 {
      let waiting = rooms.indices.filter { shares[$0] < rooms[$0] }
      let (each, more) = rest.quotientAndRemainder(dividingBy: waiting.count)
      for (order, index) in waiting.enumerated() {
        let taken = min(rooms[index] - shares[index], each + (order < more ? 1 : 0))
        shares[index] += taken
        rest -= taken
      }
    }
    return shares
  }

  private struct Candidate {
    let score: Float
    let piece: Int
    let token: Int

    /// Higher scores first, then lower positions.
    static func precedes(_ one: Candidate, _ other: Candidate) -> Bool {
      if one.score != other.score { return one.score > other.score }
      return (one.piece, one.token) < (other.piece, other.token)
    }
  }

  private func highest(
    _ scores: [[Float]], _ placements: [BlendPlan.Placement]
  ) -> [TokenSpans] {
    var candidates: [Candidate] = []
    for (piece, placement) in placements.dropFirst().enumerated() {
      for token in placement.kept.ranges.joined() {
        candidates.append(Candidate(score: scores[piece][token], piece: piece, token: token))
      }
    }
    candidates.sort(by: Candidate.precedes)
    var tokens = [[Int]](repeating: [], count: scores.count)
    for candidate in candidates.prefix(budget) { tokens[candidate.piece].append(candidate.token) }
    return tokens.map { TokenSpans(ofTokens: $0.sorted()) }
  }
}
