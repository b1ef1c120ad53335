internal import KDNCore

/// Encodes objects of one class; pure, cheap to make, for any thread.
package struct Encoder: Sendable {
  /// The class asked for.
  package let codecClass: CodecClass
  /// The profile, if the class needs one.
  package let profile: Profile?
  /// How finely it works.
  package let settings: EncoderSettings

  /// Creates an encoder.
  ///
  /// - Throws: a field fault that names `profile` if the class needs another kind or none.
  package init(
    _ codecClass: CodecClass, profile: Profile? = nil, settings: EncoderSettings = .init()
  ) throws(CodecFault) {
    if let kind = codecClass.profileKind {
      guard let profile else { throw .field("profile", 0, limit: 1, "the class needs one") }
      guard profile.kind == kind || kind == .weights else {
        throw .field(
          "profile", Int(profile.kind.rawValue), limit: Int(kind.rawValue),
          "the class needs another kind")
      }
    }
    self.codecClass = codecClass
    self.profile = codecClass.profileKind == nil ? nil : profile
    self.settings = settings
  }

  /// Encodes the object `raw`, of which `facts` tell what it is.
  ///
  /// Blocks that the class cannot code fall back by themselves; the result is never longer than
  /// `raw`, its header and the padding between its blocks.
  ///
  /// - Throws: a field fault if the facts do not fit the class, the profile or the bytes.
  package func encode(
    _ raw: RawSpan, _ facts: EncodingFacts
  ) throws(CodecFault) -> EncodedObject {
    guard (1...EncodedHeader.objectBytesMax).contains(raw.byteCount) else {
      throw .field("rawByteCount", raw.byteCount, limit: EncodedHeader.objectBytesMax, "no length")
    }
    guard (facts.layout == nil) == codecClass.isForOpaque else {
      throw .field(
        "class", Int(codecClass.rawValue), limit: facts.layout == nil ? 16 : 5,
        "is not for this kind of object")
    }
    guard let layout = facts.layout else { return encodeOpaque(raw) }
    guard facts.firstToken <= EncodedHeader.positionMax - UInt64(max(0, facts.tokenCount)) else {
      throw .field("firstToken", Int.max, limit: Int(EncodedHeader.positionMax), "too far")
    }
    let shape = try CodecFault.wrapping { () throws(FieldFault) in
      try PartShape(layout: layout, part: facts.part, tokenCount: facts.tokenCount)
    }
    guard raw.byteCount == shape.byteCount else {
      throw .field("rawByteCount", raw.byteCount, limit: shape.byteCount, "not the layout's")
    }
    if let profile, profile.layout != layout {
      throw .field("layoutID", 0, limit: 0, "the profile is of another layout")
    }
    return try encode(raw, facts, layout, shape)
  }

  private func encode(
    _ raw: RawSpan, _ facts: EncodingFacts, _ layout: Layout, _ shape: PartShape
  ) throws(CodecFault) -> EncodedObject {
    let frequencies = layout.groups.map { group in
      group.rope.map { $0.keys == .afterRotation ? $0.pairFrequencies : [] } ?? []
    }
    let isLossy = codecClass.isLossy && layout.elementType != .i8
    let groups = Set(shape.planes.filter { $0.rotation != nil }.map(\.groupIndex))
    // Angles that have no table leave the class what needs none.
    let rotated = try? BlockContext(
      facts, shape, profile: profile, frequencies: frequencies,
      rotatedGroups: isLossy ? groups : [])
    let context: BlockContext
    if let rotated { context = rotated } else { context = try plain(facts, shape, frequencies) }
    let session = PlaneEncoding(
      codecClass: codecClass, settings: settings, facts: facts, shape: shape, context: context,
      isLossy: isLossy && rotated != nil)
    // Safe because: planes lie inside the object, which is as long as they are together.
    let coded = unsafe raw.withUnsafeBytes { raw in unsafe session.blocks(of: raw) }
    return assembled(
      coded.blocks, facts, frequencies: frequencies, rawByteCount: raw.byteCount,
      rawChecksum: coded.rawChecksum, decodedChecksum: coded.decodedChecksum)
  }

  private func plain(
    _ facts: EncodingFacts, _ shape: PartShape, _ frequencies: [[Double]]
  ) throws(CodecFault) -> BlockContext {
    try CodecFault.wrapping { () throws(FieldFault) in
      try BlockContext(
        facts, shape, profile: nil, frequencies: frequencies, rotatedGroups: [])
    }
  }

  private func encodeOpaque(_ raw: RawSpan) -> EncodedObject {
    let checksum = raw.checksum()
    let compressed = unsafe raw.withUnsafeBytes { raw in
      codecClass == .zstd
        ? unsafe GeneralPurpose.zstd(raw, level: settings.zstdLevel)
        : unsafe GeneralPurpose.lz4(raw)
    }
    let pays = compressed.map { $0.count <= raw.byteCount - raw.byteCount / settings.savedPartMin }
    let kind: BlockKind = codecClass == .zstd ? .zstd : .lz4
    let bytes = pays == true ? compressed ?? [] : raw.copied()
    let block = EncodedBlock(
      kind: pays == true ? kind : .raw, plane: .object, firstLayerIndex: 0, layerCount: 1,
      rawTokens: 0, bytes: bytes, decodedChecksum: checksum, rawByteCount: raw.byteCount,
      fellBack: pays != true)
    return assembled(
      [block], .opaque, frequencies: [], rawByteCount: raw.byteCount, rawChecksum: checksum,
      decodedChecksum: checksum)
  }

  private func assembled(
    _ blocks: [EncodedBlock], _ facts: EncodingFacts, frequencies: [[Double]], rawByteCount: Int,
    rawChecksum: Checksum, decodedChecksum: Checksum
  ) -> EncodedObject {
    let headerBytes = EncodedHeader.byteCount(
      layoutBytes: facts.layout?.canonicalEncoding.count ?? 0, frequencies: frequencies,
      blockCount: blocks.count)
    var tally = BlockTally()
    var entries: [BlockEntry] = []
    var end = headerBytes
    for block in blocks {
      let offset = (end + 7) / 8 * 8
      entries.append(block.entry(at: offset))
      end = offset + block.bytes.count
      tally.add(
        block.kind, rawBytes: block.rawByteCount, encodedBytes: block.bytes.count,
        fellBack: block.fellBack)
    }
    let header = EncodedHeader(
      codecClass: codecClass, facts: facts, rawByteCount: rawByteCount, rawChecksum: rawChecksum,
      decodedChecksum: decodedChecksum, profile: profile?.hash, frequencies: frequencies,
      blocks: entries, headerByteCount: headerBytes, shape: nil)
    var bytes = header.encoded()
    bytes.reserveCapacity(end)
    for (block, entry) in zip(blocks, entries) {
      bytes.append(contentsOf: repeatElement(0, count: entry.offset - bytes.count))
      bytes.append(contentsOf: block.bytes)
    }
    return EncodedObject(
      bytes: bytes, headerByteCount: headerBytes, tally: tally,
      decodedChecksum: decodedChecksum.value)
  }
}
