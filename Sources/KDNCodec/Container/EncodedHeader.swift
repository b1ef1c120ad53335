package import KDNCore

/// The header of an encoded object, every field of it checked.
///
/// See `Codecs`, section Encoded object.
package struct EncodedHeader: Sendable {
  /// The class that was asked for; blocks may have fallen back.
  package let codecClass: CodecClass
  /// What the object is.
  package let facts: EncodingFacts
  /// Bytes of the object as it was stored.
  package let rawByteCount: Int
  /// Checksum of the object as it was stored.
  package let rawChecksum: Checksum
  /// Checksum of what decoding gives; that of the stored bytes unless the class is lossy.
  package let decodedChecksum: Checksum
  /// The profile that decoding needs, nil for none.
  package let profile: ProfileHash?
  /// Radians per position of each rotated pair, for each group of the layout whose keys are
  /// rotated; empty for the others.
  package let frequencies: [[Double]]
  /// The blocks, ordered by first layer, then plane.
  package let blocks: [BlockEntry]
  /// Bytes of the header.
  package let headerByteCount: Int

  let shape: PartShape?

  static let magic: [UInt8] = Array("KDNE".utf8)
  static let version: UInt16 = 1
  static let fixedByteCount = 112
  /// Most bytes of a header.
  package static let headerBytesMax = 16 << 20
  /// Most blocks of an object.
  package static let blockCountMax = 8192
  /// Most bytes of an object.
  package static let objectBytesMax = 1 << 40
  /// Largest position of a token, plus one.
  package static let positionMax: UInt64 = 1 << 40

  /// Bytes of the whole encoded object.
  package var byteCount: Int { blocks.last?.range.upperBound ?? headerByteCount }

  /// How many layers the part has; 1 for an opaque object.
  package var layerCount: Int { shape?.layers.count ?? 1 }

  /// Whether a block is of a lossy kind.
  package var isLossy: Bool { blocks.contains { $0.kind.isLossy } }

  /// The bytes of the object in which the blocks of these layers lie, the header not included.
  ///
  /// `layers` are indices among the part's layers, not empty.
  package func encodedRange(layers: Range<Int>) -> Range<Int> {
    let ranges = blocks(ofLayers: layers).map { blocks[$0].range }
    let lower = ranges.map(\.lowerBound).min() ?? 0
    return lower..<(ranges.map(\.upperBound).max() ?? 0)
  }

  /// The bytes of the decoded object that these layers are.
  package func rawRange(layers: Range<Int>) -> Range<Int> {
    shape?.bytes(ofLayers: layers) ?? 0..<rawByteCount
  }

  /// Indices of the blocks that hold a plane of one of `layers`.
  func blocks(ofLayers layers: Range<Int>) -> [Int] {
    blocks.indices.filter { index in
      planes(of: blocks[index])?.contains { layers.contains($0.layerIndex) } ?? true
    }
  }

  /// The planes of a block; nil for the block of an opaque object.
  func planes(of block: BlockEntry) -> [PlaneShape]? {
    shape?.planes(
      plane: block.plane, firstLayerIndex: block.firstLayerIndex, layerCount: block.layerCount)
  }
}
