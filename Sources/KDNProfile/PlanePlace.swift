internal import KDNCodec
internal import KDNCore

/// Where one plane of one layer lies inside each chunk of a part, and what it is.
struct PlanePlace: Sendable {
  /// Index of the layer among the layers of the part.
  let layerIndex: Int
  /// The layer's number in its layout.
  let layer: Int
  /// Index of the layer's group: only layers of one group share a basis.
  let group: Int
  let plane: Plane
  /// KV heads of the part, 1 for a latent.
  let heads: Int
  /// Elements per head and token.
  let dim: Int
  /// Bytes of one token in all planes before this one.
  let bytesBefore: Int
  /// How the keys are turned, nil if they are not.
  let rotation: Rotation?

  /// Channels: heads times dimensions.
  var channelCount: Int { heads * dim }

  /// A turn of the elements `start..<start + rope.rotaryDims` of each head, by position.
  struct Rotation: Sendable {
    let rope: RoPE
    let start: Int
  }

  /// All planes that a profile has words for, in canonical order, and the bytes that one token
  /// takes over all planes of the part.
  ///
  /// - Throws: a fault that names the field if the part does not fit the layout.
  static func all(
    of part: Part, _ layout: Layout
  ) throws(FieldFault) -> (planes: [PlanePlace], bytesPerToken: Int) {
    // The geometry knows which parts fit; its answer for one token is what is counted below.
    let bytesPerToken = try LayoutGeometry(layout).byteCount(of: part, tokens: 1)
    let layers = layout.groups.indices.flatMap { group in
      layout.groups[group].layers.map { (layer: Int($0), group: group) }
    }.filter { part.layers.contains($0.layer) }.sorted { $0.layer < $1.layer }
    var planes: [PlanePlace] = []
    var bytes = 0
    for (index, (layer, groupIndex)) in layers.enumerated() {
      let group = layout.groups[groupIndex]
      let rope = group.rope.flatMap { $0.keys == .afterRotation ? $0 : nil }
      func add(_ plane: Plane, heads: Int, dim: Int, turned start: Int?) {
        planes.append(
          PlanePlace(
            layerIndex: index, layer: layer, group: groupIndex, plane: plane, heads: heads,
            dim: dim, bytesBefore: bytes,
            rotation: start.flatMap { start in rope.map { Rotation(rope: $0, start: start) } }))
        bytes += heads * dim * layout.elementType.byteCount
      }
      switch group.kind {
      case .attention(_, let headDim):
        add(.keys, heads: Int(part.kvHeadCount), dim: Int(headDim), turned: 0)
        add(.values, heads: Int(part.kvHeadCount), dim: Int(headDim), turned: nil)
      case .latent(let rank, let ropeDim):
        add(.layer, heads: 1, dim: Int(rank) + Int(ropeDim), turned: Int(rank))
      case .opaque(let bytesPerToken): bytes += Int(bytesPerToken)
      }
    }
    precondition(bytes == bytesPerToken, "planes and geometry disagree about the layout")
    return (planes, bytesPerToken)
  }
}

/// Planes that are learned together: of one kind, in order of their layers.
struct PlaneRun: Sendable {
  let planes: [PlanePlace]
  /// Whether a basis is wanted, not only statistics of channels.
  let wantsBasis: Bool

  /// Channels of all planes, in order.
  var channelCount: Int { planes.reduce(0) { $0 + $1.channelCount } }

  /// Channels of plane `index` among all.
  func channels(ofPlane index: Int) -> Range<Int> {
    let start = planes[..<index].reduce(0) { $0 + $1.channelCount }
    return start..<start + planes[index].channelCount
  }

  /// The runs that a profile of `kind` learns, ordered by first layer, then plane.
  static func all(of planes: [PlanePlace], for kind: Profile.Kind) -> [PlaneRun] {
    let single = planes.filter { kind == .weights || $0.plane == .layer }
    var runs = single.map { PlaneRun(planes: [$0], wantsBasis: false) }
    guard kind != .weights else { return runs }
    let places = planes.filter { $0.plane != .layer }
    for group in Set(places.map(\.group)).sorted() {
      for plane in [Plane.keys, .values] {
        let layers = places.filter { $0.group == group && $0.plane == plane }
        runs += split(layers, perRun: kind == .groupedBasis ? LearningOptions.layersPerRun : .max)
      }
    }
    return runs.sorted {
      let (left, right) = ($0.planes[0], $1.planes[0])
      return (left.layerIndex, left.plane.rawValue) < (right.layerIndex, right.plane.rawValue)
    }
  }

  /// Splits layers evenly: 30 into five runs of six, 32 into two of six and four of five.
  private static func split(_ layers: [PlanePlace], perRun: Int) -> [PlaneRun] {
    let runCount = layers.count / perRun + (layers.count % perRun == 0 ? 0 : 1)
    return (0..<runCount).map { run in
      let range = layers.count * run / runCount..<layers.count * (run + 1) / runCount
      return PlaneRun(planes: Array(layers[range]), wantsBasis: true)
    }
  }
}
