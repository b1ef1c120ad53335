/// Where the bytes of a part lie inside its object: canonical order, worked out once per layout.
///
/// Payload of an object: for each layer of its part, ascending, `[K, V][kvHead][token][dim]`.
package struct LayoutGeometry: Sendable {
  private struct Layer {
    let number: Int
    /// KV heads of an attention layer, 0 where there are none.
    let kvHeads: Int
    /// Bytes per token of one head's keys (or values), or of the whole layer if it has no heads.
    let planeBytesPerToken: Int
  }

  /// The layout described.
  package let layout: Layout
  private let layers: [Layer]

  /// Works out the geometry of `layout`.
  package init(_ layout: Layout) {
    self.layout = layout
    layers = layout.groups.flatMap { group in
      group.layers.map { number in
        switch group.kind {
        case .attention(let kvHeads, let headDim):
          Layer(
            number: Int(number), kvHeads: Int(kvHeads),
            planeBytesPerToken: Int(headDim) * layout.elementType.byteCount)
        case .latent, .opaque:
          Layer(
            number: Int(number), kvHeads: 0,
            planeBytesPerToken: group.bytesPerLayerToken(layout.elementType))
        }
      }
    }.sorted { $0.number < $1.number }
  }

  /// The part with every layer and head; nil if layers differ in heads, so that no part has all.
  package var whole: Part? {
    let heads = Set(layers.map(\.kvHeads)).subtracting([0])
    guard heads.count <= 1, let first = layers.first, let last = layers.last else { return nil }
    return Part(
      firstLayer: UInt16(first.number), layerCount: UInt16(last.number - first.number + 1),
      firstKVHead: 0, kvHeadCount: UInt16(heads.first ?? 1))
  }

  /// Bytes of an object that holds `tokens` tokens of `part`.
  ///
  /// - Throws: a fault that names `firstLayer` or `kvHeadCount` if the part does not fit the
  ///   layout, or `tokenCount` if it is not 1 to 4096.
  package func byteCount(of part: Part, tokens: Int) throws(FieldFault) -> Int {
    guard (1...4096).contains(tokens) else {
      throw FieldFault("tokenCount", value: tokens, limit: 4096, "must be 1 to 4096")
    }
    return try selected(part).reduce(0) { $0 + Self.byteCount(of: $1, heads: part.kvHeads, tokens) }
  }

  /// The byte ranges of `selection` inside an object of `part` with `tokens` tokens, in canonical
  /// order, neighbours joined.
  ///
  /// - Throws: a fault that names `firstLayer` or `firstKVHead` if the selection is not inside the
  ///   part or does not fit the layout.
  package func ranges(
    of selection: Part, in part: Part, tokens: Int
  ) throws(FieldFault) -> [Range<Int>] {
    let wanted = try selected(selection)
    guard part.layers.contains(selection.layers) else {
      throw FieldFault(
        "firstLayer", value: Int(selection.firstLayer), limit: part.layers.upperBound,
        "selected layers are not inside the object's part")
    }
    guard wanted.allSatisfy({ $0.kvHeads == 0 }) || part.kvHeads.contains(selection.kvHeads) else {
      throw FieldFault(
        "firstKVHead", value: Int(selection.firstKVHead), limit: part.kvHeads.upperBound,
        "selected heads are not inside the object's part")
    }
    var ranges: [Range<Int>] = []
    var start = 0
    for layer in try selected(part) {
      let size = Self.byteCount(of: layer, heads: part.kvHeads, tokens)
      if selection.layers.contains(layer.number) {
        for range in Self.planes(of: layer, selection, part, tokens) {
          Self.append(start + range.lowerBound..<start + range.upperBound, to: &ranges)
        }
      }
      start += size
    }
    return ranges
  }

  private func selected(_ part: Part) throws(FieldFault) -> [Layer] {
    let inside = layers.filter { part.layers.contains($0.number) }
    guard !inside.isEmpty else {
      throw FieldFault(
        "firstLayer", value: Int(part.firstLayer), limit: layers.last?.number ?? 0,
        "the layout has no layer in this range")
    }
    for layer in inside where layer.kvHeads > 0 && part.kvHeads.upperBound > layer.kvHeads {
      throw FieldFault(
        "kvHeadCount", value: part.kvHeads.upperBound, limit: layer.kvHeads,
        "the layout has fewer KV heads")
    }
    guard part.kvHeadCount > 0 else {
      throw FieldFault("kvHeadCount", value: 0, limit: 1, "a part has heads")
    }
    if inside.allSatisfy({ $0.kvHeads == 0 }), part.kvHeads != 0..<1 {
      throw FieldFault(
        "kvHeadCount", value: Int(part.kvHeadCount), limit: 1, "layers without heads say 0 and 1")
    }
    return inside
  }

  private static func byteCount(of layer: Layer, heads: Range<Int>, _ tokens: Int) -> Int {
    let planes = layer.kvHeads == 0 ? 1 : 2 * heads.count
    return planes * layer.planeBytesPerToken * tokens
  }

  private static func planes(
    of layer: Layer, _ selection: Part, _ part: Part, _ tokens: Int
  ) -> [Range<Int>] {
    let plane = layer.planeBytesPerToken * tokens
    guard layer.kvHeads > 0 else { return [0..<plane] }
    let first = selection.kvHeads.lowerBound - part.kvHeads.lowerBound
    let length = selection.kvHeads.count * plane
    let values = part.kvHeads.count * plane
    return [
      first * plane..<first * plane + length,
      values + first * plane..<values + first * plane + length,
    ]
  }

  private static func append(_ range: Range<Int>, to ranges: inout [Range<Int>]) {
    if let last = ranges.last, last.upperBound == range.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
    } else {
      ranges.append(range)
    }
  }
}

extension Range where Bound == Int {
  fileprivate func contains(_ other: Range<Int>) -> Bool {
    lowerBound <= other.lowerBound && other.upperBound <= upperBound
  }
}
