internal import KDNCore

/// One plane of one layer of an object: where its bytes lie and how its channels are arranged.
struct PlaneShape: Hashable, Sendable {
  /// Index of the layer among the part's layers.
  let layerIndex: Int
  /// Index of the layer's group in the layout.
  let groupIndex: Int
  /// Which plane of the layer.
  let plane: Plane
  /// KV heads; 1 for a plane of a whole layer.
  let heads: Int
  /// Elements of one head and token; bytes of one token in an opaque layer.
  let dims: Int
  /// Where the plane begins in the object.
  let offset: Int
  /// How many bytes it takes.
  let byteCount: Int
  /// Whether its bytes are elements of the layout's type.
  let isOpaque: Bool
  /// The rotation that its elements carry.
  let rotation: PlaneRotation?

  /// Channels, `heads * dims`.
  var channels: Int { heads * dims }
  /// Where the plane's bytes lie in the object.
  var range: Range<Int> { offset..<offset + byteCount }
}

/// How the keys of a plane are rotated by position.
struct PlaneRotation: Hashable, Sendable {
  /// The first dimension that turns.
  let firstDim: Int
  /// How many dimensions turn, even.
  let dims: Int
  /// Which dimensions turn together.
  let pairing: RoPE.Pairing
}

/// The layers and planes of a part, in canonical order.
struct PartShape: Sendable {
  /// The type of all elements.
  let elementType: ElementType
  /// How many tokens.
  let tokenCount: Int
  /// All planes, in the order of their bytes.
  let planes: [PlaneShape]
  /// The planes of each layer of the part: a range of `planes`.
  let layers: [Range<Int>]
  /// The number of each layer of the part.
  let numbers: [Int]
  /// Bytes of the object.
  let byteCount: Int

  /// Works out the planes of an object.
  ///
  /// - Throws: a fault that names `firstLayer`, `kvHeadCount` or `tokenCount` if the part does not
  ///   fit the layout.
  init(layout: Layout, part: Part, tokenCount: Int) throws(FieldFault) {
    byteCount = try LayoutGeometry(layout).byteCount(of: part, tokens: tokenCount)
    elementType = layout.elementType
    self.tokenCount = tokenCount
    var numbered: [(number: Int, group: Int)] = []
    for (index, group) in layout.groups.enumerated() {
      for number in group.layers where part.layers.contains(Int(number)) {
        numbered.append((Int(number), index))
      }
    }
    numbered.sort { $0.number < $1.number }
    var planes: [PlaneShape] = []
    var layers: [Range<Int>] = []
    var offset = 0
    for (index, layer) in numbered.enumerated() {
      let added = Self.planes(
        of: layout.groups[layer.group], groupIndex: layer.group, layerIndex: index, part: part,
        tokens: tokenCount, elementBytes: layout.elementType.byteCount, offset: &offset)
      layers.append(planes.count..<planes.count + added.count)
      planes += added
    }
    precondition(offset == byteCount, "planes are all bytes of the object")
    self.planes = planes
    self.layers = layers
    numbers = numbered.map(\.number)
  }

  private static func planes(
    of group: LayoutGroup, groupIndex: Int, layerIndex: Int, part: Part, tokens: Int,
    elementBytes: Int, offset: inout Int
  ) -> [PlaneShape] {
    let rope = group.rope.flatMap { $0.keys == .afterRotation ? $0 : nil }
    func plane(
      _ plane: Plane, heads: Int, dims: Int, bytes: Int, isOpaque: Bool = false,
      turnsFrom first: Int? = nil
    ) -> PlaneShape {
      let rotation = rope.flatMap { rope in
        first.map { PlaneRotation(firstDim: $0, dims: Int(rope.rotaryDims), pairing: rope.pairing) }
      }
      defer { offset += heads * dims * bytes * tokens }
      return PlaneShape(
        layerIndex: layerIndex, groupIndex: groupIndex, plane: plane, heads: heads, dims: dims,
        offset: offset, byteCount: heads * dims * bytes * tokens, isOpaque: isOpaque,
        rotation: rotation)
    }
    switch group.kind {
    case .attention(_, let headDim):
      let heads = part.kvHeads.count
      return [
        plane(.keys, heads: heads, dims: Int(headDim), bytes: elementBytes, turnsFrom: 0),
        plane(.values, heads: heads, dims: Int(headDim), bytes: elementBytes),
      ]
    case .latent(let rank, let ropeDim):
      return [
        plane(
          .layer, heads: 1, dims: Int(rank) + Int(ropeDim), bytes: elementBytes,
          turnsFrom: Int(rank))
      ]
    case .opaque(let bytesPerToken):
      return [plane(.layer, heads: 1, dims: Int(bytesPerToken), bytes: 1, isOpaque: true)]
    }
  }

  /// The planes of a block: `plane` of `layerCount` layers of the group of layer
  /// `firstLayerIndex`, from that on; nil if there are not as many.
  func planes(plane: Plane, firstLayerIndex: Int, layerCount: Int) -> [PlaneShape]? {
    guard layers.indices.contains(firstLayerIndex), layerCount > 0 else { return nil }
    let group = planes[layers[firstLayerIndex].lowerBound].groupIndex
    var found: [PlaneShape] = []
    for layer in layers[firstLayerIndex...] {
      guard found.count < layerCount else { break }
      guard planes[layer.lowerBound].groupIndex == group else { continue }
      guard let match = planes[layer].first(where: { $0.plane == plane }) else { return nil }
      found.append(match)
    }
    return found.count == layerCount ? found : nil
  }

  /// The bytes of the object that the layers of `range` are.
  func bytes(ofLayers range: Range<Int>) -> Range<Int> {
    guard let first = range.first, let last = range.last else { return 0..<0 }
    let lower = planes[layers[first].lowerBound].offset
    return lower..<planes[layers[last].upperBound - 1].range.upperBound
  }
}
