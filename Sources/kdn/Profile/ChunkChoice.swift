internal import KDNCore

/// Which chunks to learn from.
enum ChunkChoice {
  /// Some of so many token counts, evenly spread, that have `tokensMax` tokens at most together;
  /// the first one if it alone has more.
  static func spread(_ counts: [Int], tokensMax: Int) -> [Int] {
    let tokens = counts.reduce(0, +)
    var chosen: [Int] = []
    var passed = 0
    var taken = 0
    for (index, count) in counts.enumerated() {
      passed += count
      // As far through what is wanted as through what there is.
      guard taken * tokens < passed * tokensMax, taken + count <= tokensMax else { continue }
      taken += count
      chosen.append(index)
    }
    return chosen.isEmpty && !counts.isEmpty ? [0] : chosen
  }

  /// As the endpoint writes parts.
  static func text(of part: Part) -> String {
    """
    layers \(part.layers.lowerBound)-\(part.layers.upperBound - 1), \
    heads \(part.kvHeads.lowerBound)-\(part.kvHeads.upperBound - 1)
    """
  }
}
