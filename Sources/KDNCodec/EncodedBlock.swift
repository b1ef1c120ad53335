internal import KDNCore

/// A block before it has a place.
struct EncodedBlock {
  let kind: BlockKind
  let plane: Plane
  let firstLayerIndex: Int
  let layerCount: Int
  let rawTokens: Int
  let bytes: [UInt8]
  let encodedChecksum: Checksum
  let decodedChecksum: Checksum
  let rawByteCount: Int
  let fellBack: Bool

  init(
    kind: BlockKind, plane: Plane, firstLayerIndex: Int, layerCount: Int, rawTokens: Int,
    bytes: [UInt8], decodedChecksum: Checksum, rawByteCount: Int, fellBack: Bool
  ) {
    self.kind = kind
    self.plane = plane
    self.firstLayerIndex = firstLayerIndex
    self.layerCount = layerCount
    self.rawTokens = rawTokens
    self.bytes = bytes
    // Here, while the bytes are in the cache.
    encodedChecksum = Checksum(of: bytes)
    self.decodedChecksum = decodedChecksum
    self.rawByteCount = rawByteCount
    self.fellBack = fellBack
  }

  /// The block's entry in an index.
  func entry(at offset: Int) -> BlockEntry {
    BlockEntry(
      kind: kind, plane: plane, firstLayerIndex: firstLayerIndex, layerCount: layerCount,
      rawTokens: rawTokens, offset: offset, byteCount: bytes.count,
      encodedChecksum: encodedChecksum, decodedChecksum: decodedChecksum)
  }
}

/// All blocks of an object, and what was stored and what they decode to.
struct EncodedPlanes {
  let blocks: [EncodedBlock]
  let rawChecksum: Checksum
  let decodedChecksum: Checksum
}
