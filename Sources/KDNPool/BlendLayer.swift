package import KDNCore

/// One layer of a blend: keys and values of all rows and KV heads, `[K, V][kvHead][row][dim]`.
package struct BlendLayer: Hashable, Sendable {
  /// The layer's number in the layout.
  package let number: Int
  /// KV heads of the layer.
  package let kvHeads: Int
  /// Bytes of one head's keys, or values, of one token.
  package let planeBytesPerToken: Int
  /// Number of the layout's group that the layer stands in.
  package let group: Int

  /// The layers of a layout in the order of their numbers.
  ///
  /// - Throws: a fault that names `layout` if it has layers without heads, or layers that keep the
  ///   tokens of a window only.
  package static func layers(of layout: Layout) throws(FieldFault) -> [BlendLayer] {
    var layers: [BlendLayer] = []
    for (index, group) in layout.groups.enumerated() {
      guard case .attention(let kvHeads, let headDim) = group.kind else {
        throw FieldFault(
          "layout", value: index, limit: layout.groups.count,
          "only layers of keys and values can be blended")
      }
      guard group.slidingWindow == 0 else {
        throw FieldFault(
          "layout", value: UInt64(group.slidingWindow), limit: 0,
          "layers with a sliding window cannot be blended")
      }
      for number in group.layers {
        layers.append(
          BlendLayer(
            number: Int(number), kvHeads: Int(kvHeads),
            planeBytesPerToken: Int(headDim) * layout.elementType.byteCount, group: index))
      }
    }
    return layers.sorted { $0.number < $1.number }
  }

  /// The part of the layer's object.
  package var part: Part {
    Part(
      firstLayer: UInt16(number), layerCount: 1, firstKVHead: 0, kvHeadCount: UInt16(kvHeads))
  }

  /// Bytes of the layer's object.
  package func byteCount(rows: Int) -> Int { 2 * kvHeads * planeBytesPerToken * rows }
}
