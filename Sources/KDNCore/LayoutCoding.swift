extension Layout {
  private static let magic: [UInt8] = Array("KDNL".utf8)
  private static let version: UInt8 = 1

  /// The bytes that name the layout: see `Formats`, section Layout.
  package var canonicalEncoding: [UInt8] {
    var writer = ByteWriter(capacity: 256)
    writer.put(contentsOf: Self.magic)
    writer.put(Self.version)
    writer.put(elementType.rawValue)
    writer.put(UInt16(groups.count))
    for group in groups { group.write(to: &writer) }
    return writer.bytes
  }

  /// Decodes a canonical encoding, the whole of `bytes`.
  ///
  /// - Throws: a fault that names the field at fault: wrong magic or version, a count, number or
  ///   float outside its limits, bytes missing or left over.
  package init(canonicalEncoding bytes: [UInt8]) throws(FieldFault) {
    var reader = ByteReader(bytes)
    guard Array(try reader.takeBytes("magic", count: 4)) == Self.magic else {
      throw FieldFault("magic", value: 0, limit: 0, "not a layout")
    }
    let version: UInt8 = try reader.take("version")
    guard version == Self.version else {
      throw FieldFault(
        "version", value: UInt64(version), limit: UInt64(Self.version), "unknown version")
    }
    let rawType: UInt8 = try reader.take("dtype")
    guard let elementType = ElementType(rawValue: rawType) else {
      throw FieldFault("dtype", value: UInt64(rawType), limit: 6, "unknown element type")
    }
    let groupCount: UInt16 = try reader.take("groupCount")
    guard (1...Self.groupCountMax).contains(Int(groupCount)) else {
      throw FieldFault(
        "groupCount", value: Int(groupCount), limit: Self.groupCountMax, "must be 1 to 64")
    }
    var groups: [LayoutGroup] = []
    for _ in 0..<groupCount { groups.append(try LayoutGroup(from: &reader)) }
    try reader.finish("layout")
    try self.init(elementType: elementType, groups: groups)
  }
}

extension LayoutGroup {
  private enum Tag: UInt8 {
    case attention = 1
    case latent = 2
    case opaque = 3
  }

  fileprivate func write(to writer: inout ByteWriter) {
    switch kind {
    case .attention: writer.put(Tag.attention.rawValue)
    case .latent: writer.put(Tag.latent.rawValue)
    case .opaque: writer.put(Tag.opaque.rawValue)
    }
    writer.put(UInt8(rope == nil ? 0 : 1))
    writer.put(UInt16(layers.count))
    for layer in layers { writer.put(layer) }
    switch kind {
    case .attention(let kvHeads, let headDim):
      writer.put(kvHeads)
      writer.put(headDim)
    case .latent(let rank, let ropeDim):
      writer.put(rank)
      writer.put(ropeDim)
    case .opaque(let bytesPerToken): writer.put(bytesPerToken)
    }
    writer.put(slidingWindow)
    rope?.write(to: &writer)
  }

  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    let rawTag: UInt8 = try reader.take("kind")
    guard let tag = Tag(rawValue: rawTag) else {
      throw FieldFault("kind", value: UInt64(rawTag), limit: 3, "unknown kind of group")
    }
    let hasRoPE: UInt8 = try reader.take("hasRoPE")
    guard hasRoPE <= 1 else {
      throw FieldFault("hasRoPE", value: UInt64(hasRoPE), limit: 1, "must be 0 or 1")
    }
    let layerCount: UInt16 = try reader.take("layerCount")
    guard (1...Layout.layersPerGroupMax).contains(Int(layerCount)) else {
      throw FieldFault(
        "layerCount", value: Int(layerCount), limit: Layout.layersPerGroupMax, "must be 1 to 1024")
    }
    var layers: [UInt16] = []
    for _ in 0..<layerCount { layers.append(try reader.take("layer")) }
    let kind: Kind =
      switch tag {
      case .attention:
        .attention(kvHeads: try reader.take("kvHeads"), headDim: try reader.take("headDim"))
      case .latent: .latent(rank: try reader.take("rank"), ropeDim: try reader.take("ropeDim"))
      case .opaque: .opaque(bytesPerToken: try reader.take("bytesPerToken"))
      }
    let slidingWindow: UInt32 = try reader.take("slidingWindow")
    self.init(
      kind: kind, layers: layers, slidingWindow: slidingWindow,
      rope: hasRoPE == 1 ? try RoPE(from: &reader) : nil)
  }
}

extension RoPE {
  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(theta)
    writer.put(scaling.rawValue)
    writer.put(pairing.rawValue)
    writer.put(keys.rawValue)
    writer.putZeros(1)
    writer.put(rotaryDims)
    writer.put(UInt16(factors.count))
    for factor in factors { writer.put(factor) }
  }

  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    let theta = try reader.takeDouble("theta")
    let rawScaling: UInt8 = try reader.take("scaling")
    guard let scaling = Scaling(rawValue: rawScaling) else {
      throw FieldFault("scaling", value: UInt64(rawScaling), limit: 5, "unknown scaling")
    }
    let rawPairing: UInt8 = try reader.take("pairing")
    guard let pairing = Pairing(rawValue: rawPairing) else {
      throw FieldFault("pairing", value: UInt64(rawPairing), limit: 1, "unknown pairing")
    }
    let rawKeys: UInt8 = try reader.take("keys")
    guard let keys = StoredKeys(rawValue: rawKeys) else {
      throw FieldFault("keys", value: UInt64(rawKeys), limit: 1, "must be 0 or 1")
    }
    try reader.takeReserved(count: 1)
    let rotaryDims: UInt16 = try reader.take("rotaryDims")
    let factorCount: UInt16 = try reader.take("factorCount")
    guard Int(factorCount) <= Self.factorCountMax else {
      throw FieldFault(
        "factorCount", value: Int(factorCount), limit: Self.factorCountMax, "too many factors")
    }
    var factors: [Double] = []
    for _ in 0..<factorCount { factors.append(try reader.takeDouble("factor")) }
    self.init(
      theta: theta, scaling: scaling, pairing: pairing, keys: keys, rotaryDims: rotaryDims,
      factors: factors)
  }
}
