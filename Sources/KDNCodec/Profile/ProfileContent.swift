internal import KDNCore

/// The fields of a profile, read and checked; its checksum is for `Profile` to check.
struct ProfileContent {
  let kind: Profile.Kind
  let layout: Layout
  let layoutID: LayoutID
  let part: Part
  let tokenCount: UInt64
  let shape: PartShape
  let statistics: [PlaneStatistics?]
  let bases: [Basis]

  init(_ bytes: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(bytes, in: 0..<bytes.count - 8)
    guard Array(try reader.takeBytes("magic", count: 4)) == Profile.magic else {
      throw FieldFault("magic", value: 0, limit: 0, "not a profile")
    }
    let version: UInt16 = try reader.take("version")
    guard version == Profile.version else {
      throw FieldFault(
        "version", value: UInt64(version), limit: UInt64(Profile.version), "unknown version")
    }
    let rawKind: UInt8 = try reader.take("kind")
    guard let kind = Profile.Kind(rawValue: rawKind) else {
      throw FieldFault("kind", value: UInt64(rawKind), limit: 3, "no such kind of profile")
    }
    self.kind = kind
    try reader.takeReserved(count: 1)
    let byteCount: UInt64 = try reader.take("byteCount")
    guard byteCount == UInt64(bytes.count) else {
      throw FieldFault(
        "byteCount", value: byteCount, limit: UInt64(bytes.count), "not the length of the bytes")
    }
    let id = try LayoutID(from: &reader)
    part = try Part(from: &reader)
    tokenCount = try reader.take("tokenCount")
    let layoutBytes = Int(try reader.take("layoutBytes", as: UInt32.self))
    let planeCount = Int(try reader.take("planeCount", as: UInt32.self))
    let basisCount = Int(try reader.take("basisCount", as: UInt32.self))
    try reader.takeReserved(count: 4)
    let encoding = Array(try reader.takeBytes("layout", count: layoutBytes))
    try reader.takePadding()
    layout = try Layout(canonicalEncoding: encoding)
    layoutID = LayoutID(ofCanonicalEncoding: encoding)
    guard layoutID == id else {
      throw FieldFault("layoutID", value: 0, limit: 0, "is not the layout's")
    }
    shape = try PartShape(layout: layout, part: part, tokenCount: 1)
    statistics = try Self.statistics(from: &reader, shape, count: planeCount)
    guard (kind == .weights) == (basisCount == 0), basisCount <= shape.planes.count else {
      throw FieldFault(
        "basisCount", value: basisCount, limit: shape.planes.count, "not for this kind")
    }
    bases = try Self.bases(from: &reader, shape, count: basisCount)
    try reader.finish("profile")
  }

  private static func statistics(
    from reader: inout ByteReader, _ shape: PartShape, count: Int
  ) throws(FieldFault) -> [PlaneStatistics?] {
    let wanted = shape.planes.count { !$0.isOpaque }
    guard count == wanted else {
      throw FieldFault("planeCount", value: count, limit: wanted, "one for each plane")
    }
    var statistics: [PlaneStatistics?] = []
    for plane in shape.planes {
      guard !plane.isOpaque else {
        statistics.append(nil)
        continue
      }
      let layer = Int(try reader.take("layerIndex", as: UInt16.self))
      let rawPlane: UInt8 = try reader.take("plane")
      try reader.takeReserved(count: 1)
      let channels = Int(try reader.take("channelCount", as: UInt32.self))
      guard layer == plane.layerIndex, rawPlane == plane.plane.rawValue else {
        throw FieldFault(
          "layerIndex", value: layer, limit: plane.layerIndex, "planes stand in their order")
      }
      guard channels == plane.channels else {
        throw FieldFault("channelCount", value: channels, limit: plane.channels, "not the plane's")
      }
      statistics.append(try PlaneStatistics(from: &reader, channels: channels))
      try reader.takePadding()
    }
    return statistics
  }

  private static func bases(
    from reader: inout ByteReader, _ shape: PartShape, count: Int
  ) throws(FieldFault) -> [Basis] {
    var bases: [Basis] = []
    var isCovered = [Bool](repeating: false, count: shape.planes.count)
    for _ in 0..<count {
      let basis = try Basis(from: &reader)
      try check(basis, behind: bases.last, shape, &isCovered)
      bases.append(basis)
    }
    return bases
  }

  /// Checks that `basis` is of planes of the part that no other basis covers.
  static func check(
    _ basis: Basis, behind previous: Basis?, _ shape: PartShape, _ isCovered: inout [Bool]
  ) throws(FieldFault) {
    if let previous {
      guard (previous.firstLayerIndex, previous.plane) < (basis.firstLayerIndex, basis.plane)
      else {
        throw FieldFault(
          "firstLayerIndex", value: basis.firstLayerIndex, limit: previous.firstLayerIndex,
          "bases are ordered by first layer and plane")
      }
    }
    guard
      let planes = shape.planes(
        plane: basis.plane, firstLayerIndex: basis.firstLayerIndex, layerCount: basis.layerCount),
      planes.allSatisfy({ !$0.isOpaque })
    else {
      throw FieldFault(
        "layerCount", value: basis.layerCount, limit: shape.layers.count, "no such planes")
    }
    let channels = planes.reduce(0) { $0 + $1.channels }
    guard channels == basis.channelCount else {
      throw FieldFault("channelCount", value: basis.channelCount, limit: channels, "not theirs")
    }
    for plane in planes {
      let index = shape.layers[plane.layerIndex].lowerBound + (plane.plane == .values ? 1 : 0)
      guard !isCovered[index] else {
        throw FieldFault(
          "firstLayerIndex", value: plane.layerIndex, limit: basis.firstLayerIndex,
          "a plane has two bases")
      }
      isCovered[index] = true
    }
  }
}
