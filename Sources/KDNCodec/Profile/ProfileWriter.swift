package import KDNCore

/// Puts a profile together: the statistics of every plane, and bases.
package struct ProfileWriter {
  private let kind: Profile.Kind
  private let layout: Layout
  private let part: Part
  private let tokenCount: UInt64
  private let shape: PartShape
  private var statistics: [PlaneStatistics?]
  private var bases: [Basis] = []

  /// Begins a profile.
  ///
  /// - Throws: a field fault if the part does not fit the layout.
  package init(
    kind: Profile.Kind, layout: Layout, part: Part, tokenCount: UInt64
  ) throws(CodecFault) {
    self.kind = kind
    self.layout = layout
    self.part = part
    self.tokenCount = tokenCount
    shape = try CodecFault.wrapping { () throws(FieldFault) in
      try PartShape(layout: layout, part: part, tokenCount: 1)
    }
    statistics = Array(repeating: nil, count: shape.planes.count)
  }

  /// Sets the statistics of a plane; `layerIndex` counts the layers of the part.
  ///
  /// - Throws: a field fault if the part has no such plane or it has other channels.
  package mutating func add(
    _ plane: PlaneStatistics, layerIndex: Int, _ which: Plane
  ) throws(CodecFault) {
    guard shape.layers.indices.contains(layerIndex),
      let index = shape.layers[layerIndex].first(where: { shape.planes[$0].plane == which }),
      !shape.planes[index].isOpaque
    else { throw .field("layerIndex", layerIndex, limit: shape.layers.count, "no such plane") }
    guard plane.weights.count == shape.planes[index].channels else {
      throw .field(
        "channelCount", plane.weights.count, limit: shape.planes[index].channels,
        "not the plane's")
    }
    try CodecFault.wrapping { () throws(FieldFault) in try plane.check() }
    statistics[index] = plane
  }

  /// Adds a basis, in any order.
  ///
  /// - Throws: a field fault if a number of it is outside its bounds.
  package mutating func add(_ basis: Basis) throws(CodecFault) {
    try CodecFault.wrapping { () throws(FieldFault) in try basis.check() }
    bases.append(basis)
  }

  /// The profile's bytes.
  ///
  /// - Throws: a field fault if a plane has no statistics, bases overlap or are not those of the
  ///   kind, or the profile is too large.
  package func finish() throws(CodecFault) -> [UInt8] {
    let sorted = bases.sorted {
      ($0.firstLayerIndex, $0.plane) < ($1.firstLayerIndex, $1.plane)
    }
    let encoding = layout.canonicalEncoding
    var writer = ByteWriter()
    writer.put(contentsOf: Profile.magic)
    writer.put(Profile.version)
    writer.put(kind.rawValue)
    writer.put(UInt8(0))
    writer.put(UInt64(byteCount(layoutBytes: encoding.count)))
    LayoutID(ofCanonicalEncoding: encoding).write(to: &writer)
    part.write(to: &writer)
    writer.put(tokenCount)
    writer.put(UInt32(encoding.count))
    writer.put(UInt32(shape.planes.count { !$0.isOpaque }))
    writer.put(UInt32(sorted.count))
    writer.putZeros(4)
    writer.put(contentsOf: encoding)
    writer.pad()
    for (plane, known) in zip(shape.planes, statistics) where !plane.isOpaque {
      guard let known else {
        throw .field("layerIndex", plane.layerIndex, limit: shape.layers.count, "no statistics")
      }
      writer.put(UInt16(plane.layerIndex))
      writer.put(plane.plane.rawValue)
      writer.putZeros(1)
      writer.put(UInt32(plane.channels))
      known.write(to: &writer)
      writer.pad()
    }
    for basis in sorted { basis.write(to: &writer) }
    let checksum = Checksum(of: writer.bytes)
    writer.put(checksum.value)
    // What is written is what is read: so whatever a reader would refuse is refused here.
    return try Profile(validating: writer.bytes).bytes
  }

  private func byteCount(layoutBytes: Int) -> Int {
    func padded(_ count: Int) -> Int { (count + 7) / 8 * 8 }
    var count = Profile.fixedByteCount + padded(layoutBytes) + 8
    for plane in shape.planes where !plane.isOpaque { count += 8 + padded(12 * plane.channels) }
    for basis in bases {
      count += 24 + padded(8 * basis.channelCount + 4 * basis.rank)
      count += padded(basis.matrixBytes.count)
    }
    return count
  }
}
