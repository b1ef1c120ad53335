package import KDNCore

/// How the bytes of a block are coded.
package enum BlockKind: UInt8, Sendable, CaseIterable {
  /// The planes as they are.
  case raw = 0
  /// Exponents coded, the rest raw; bit for bit.
  case exact = 1
  /// Means removed, quantised with one step per channel.
  case uniform = 2
  /// Coefficients of a profile's basis.
  case transform = 3
  /// One zstd frame.
  case zstd = 4
  /// One LZ4 block.
  case lz4 = 5

  /// Whether decoding may give other bytes than were stored.
  package var isLossy: Bool { self == .uniform || self == .transform }
}

/// What of a layer a block holds.
package enum Plane: UInt8, Sendable, Comparable, CaseIterable {
  /// The keys: `[kvHead][token][dim]`.
  case keys = 0
  /// The values: `[kvHead][token][dim]`.
  case values = 1
  /// All of a latent or opaque layer: `[token][…]`.
  case layer = 2
  /// All of an opaque object.
  case object = 3

  package static func < (left: Plane, right: Plane) -> Bool { left.rawValue < right.rawValue }
}

/// One entry of an encoded object's index: where a block lies and what it holds.
package struct BlockEntry: Hashable, Sendable {
  /// How the block is coded.
  package let kind: BlockKind
  /// The plane that it holds of each of its layers.
  package let plane: Plane
  /// Index of its first layer among the part's layers.
  package let firstLayerIndex: Int
  /// How many layers of the first one's group it holds, from the first on.
  package let layerCount: Int
  /// How many leading tokens it keeps as they are.
  package let rawTokens: Int
  /// Where it begins, from the object's start; a multiple of 8.
  package let offset: Int
  /// How many bytes it takes.
  package let byteCount: Int
  /// Checksum of its bytes.
  package let encodedChecksum: Checksum
  /// Checksum of the planes that it decodes to, layer by layer.
  package let decodedChecksum: Checksum

  /// Bytes of an entry.
  static let byteCount = 48

  /// Where the block's bytes lie in the object.
  package var range: Range<Int> { offset..<offset + byteCount }

  /// The entry of the same block at another place.
  func moved(to offset: Int) -> BlockEntry {
    BlockEntry(
      kind: kind, plane: plane, firstLayerIndex: firstLayerIndex, layerCount: layerCount,
      rawTokens: rawTokens, offset: offset, byteCount: byteCount,
      encodedChecksum: encodedChecksum, decodedChecksum: decodedChecksum)
  }

  /// Appends the 48 bytes to `writer`.
  func write(to writer: inout ByteWriter) {
    writer.put(kind.rawValue)
    writer.put(plane.rawValue)
    writer.put(UInt16(firstLayerIndex))
    writer.put(UInt16(layerCount))
    writer.put(UInt16(rawTokens))
    writer.put(UInt64(offset))
    writer.put(UInt64(byteCount))
    writer.put(encodedChecksum.value)
    writer.put(decodedChecksum.value)
    writer.putZeros(8)
  }
}

extension BlockEntry {
  /// Takes 48 bytes from `reader`; how entries fit together is for the header to check.
  ///
  /// - Throws: a fault that names the field at fault.
  init(from reader: inout ByteReader) throws(FieldFault) {
    let rawKind: UInt8 = try reader.take("blockKind")
    guard let kind = BlockKind(rawValue: rawKind) else {
      throw FieldFault("blockKind", value: UInt64(rawKind), limit: 5, "no such kind of block")
    }
    let rawPlane: UInt8 = try reader.take("plane")
    guard let plane = Plane(rawValue: rawPlane) else {
      throw FieldFault("plane", value: UInt64(rawPlane), limit: 3, "no such plane")
    }
    let first: UInt16 = try reader.take("firstLayerIndex")
    let layers: UInt16 = try reader.take("layerCount")
    let rawTokens: UInt16 = try reader.take("rawTokens")
    let offset: UInt64 = try reader.take("blockOffset")
    let byteCount: UInt64 = try reader.take("blockByteCount")
    let limit = UInt64(EncodedHeader.objectBytesMax)
    guard offset <= limit else {
      throw FieldFault("blockOffset", value: offset, limit: limit, "beyond any object")
    }
    guard byteCount <= limit else {
      throw FieldFault("blockByteCount", value: byteCount, limit: limit, "beyond any object")
    }
    let encoded = Checksum(try reader.take("encodedChecksum"))
    let decoded = Checksum(try reader.take("decodedChecksum"))
    try reader.takeReserved(count: 8)
    self.init(
      kind: kind, plane: plane, firstLayerIndex: Int(first), layerCount: Int(layers),
      rawTokens: Int(rawTokens), offset: Int(offset), byteCount: Int(byteCount),
      encodedChecksum: encoded, decodedChecksum: decoded)
  }
}
