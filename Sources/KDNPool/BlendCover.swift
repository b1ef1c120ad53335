internal import KDNCore

/// Which parts of a chunk give which heads of which layer.
struct BlendCover: Hashable, Sendable {
  /// Heads that one part gives of a layer.
  struct Slice: Hashable, Sendable {
    /// Number of the part in `parts`.
    let part: Int
    let heads: Range<Int>
  }

  /// Parts that are used.
  private(set) var parts: [Part] = []
  /// For each layer of the blend, slices in the order of their heads.
  private(set) var slices: [[Slice]] = []

  /// Chooses among the parts that there are; of two that are as good, the first.
  ///
  /// Nil if a head of a layer is in none.
  init?(_ layers: [BlendLayer], among candidates: [Part]) {
    for layer in layers {
      let useful = candidates.filter { $0.layers.contains(layer.number) }
      var row: [Slice] = []
      var head = 0
      while head < layer.kvHeads {
        var best: Part?
        for part in useful where part.kvHeads.contains(head) {
          if part.kvHeads.upperBound > best?.kvHeads.upperBound ?? 0 { best = part }
        }
        guard let best else { return nil }
        let end = min(best.kvHeads.upperBound, layer.kvHeads)
        row.append(Slice(part: index(of: best), heads: head..<end))
        head = end
      }
      slices.append(row)
    }
  }

  private mutating func index(of part: Part) -> Int {
    if let known = parts.firstIndex(of: part) { return known }
    parts.append(part)
    return parts.count - 1
  }
}
