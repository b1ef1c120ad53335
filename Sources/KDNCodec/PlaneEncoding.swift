internal import KDNCore

/// The blocks of one layout object being encoded: what each plane becomes, and from what it falls
/// back.
struct PlaneEncoding {
  let codecClass: CodecClass
  let settings: EncoderSettings
  let facts: EncodingFacts
  let shape: PartShape
  let context: BlockContext
  /// Whether anything may be lost: not of integers, nor where positions are too far.
  let isLossy: Bool
  let working = WorkingRoom()

  /// The raw tokens of lossy blocks: where a text begins, a few that attention leans on.
  func rawTokens(ofTransform: Bool) -> Int {
    guard facts.firstToken == 0 else { return 0 }
    let kept = ofTransform ? settings.rawTokensOfTransform : settings.rawTokens
    return min(kept, shape.tokenCount - 1)
  }

  /// All blocks in their order.
  func blocks(of raw: UnsafeRawBufferPointer) -> EncodedPlanes {
    isLossy && usesBases ? unsafe blocksWithBases(of: raw) : unsafe blocksInOrder(of: raw)
  }

  /// Blocks of one plane each: checksums are taken while the planes are in the cache.
  private func blocksInOrder(of raw: UnsafeRawBufferPointer) -> EncodedPlanes {
    var rawSum = StreamingChecksum()
    var decodedSum = StreamingChecksum()
    var blocks: [EncodedBlock] = []
    for planes in Self.runs(shape.planes) {
      var rooms: [UnsafeMutableRawBufferPointer] = unsafe []
      for (index, plane) in planes.enumerated() {
        unsafe rooms.append(working.take(.decoded(index), byteCount: plane.byteCount))
      }
      unsafe blocks += self.blocks(of: planes, in: raw, decodedInto: rooms)
      for (index, plane) in planes.enumerated() {
        unsafe rawSum.update(UnsafeRawBufferPointer(rebasing: raw[plane.range]))
        if isLossy { unsafe decodedSum.update(UnsafeRawBufferPointer(rooms[index])) }
      }
    }
    let rawChecksum = rawSum.digest()
    return EncodedPlanes(
      blocks: blocks, rawChecksum: rawChecksum,
      decodedChecksum: isLossy ? decodedSum.digest() : rawChecksum)
  }

  /// Blocks of bases, and of the planes that they leave.
  private func blocksWithBases(of raw: UnsafeRawBufferPointer) -> EncodedPlanes {
    let decoded = ScratchRoom(byteCount: UInt64(shape.byteCount))
    let room = unsafe UnsafeMutableRawBufferPointer(
      start: decoded.address, count: shape.byteCount)
    var blocks: [EncodedBlock] = []
    var isCovered = Set<Int>()
    for basis in context.profile?.bases ?? [] {
      guard let planes = planes(of: basis),
        let block = unsafe transform(raw, planes, basis, decodedInto: room)
      else { continue }
      isCovered.formUnion(planes.map(\.offset))
      blocks.append(block)
    }
    for planes in Self.runs(shape.planes.filter { !isCovered.contains($0.offset) }) {
      var rooms: [UnsafeMutableRawBufferPointer] = unsafe []
      for plane in planes {
        unsafe rooms.append(UnsafeMutableRawBufferPointer(rebasing: room[plane.range]))
      }
      unsafe blocks += self.blocks(of: planes, in: raw, decodedInto: rooms)
    }
    blocks.sort { ($0.firstLayerIndex, $0.plane) < ($1.firstLayerIndex, $1.plane) }
    return EncodedPlanes(
      blocks: blocks, rawChecksum: unsafe Checksum(of: raw),
      decodedChecksum: unsafe Checksum(of: UnsafeRawBufferPointer(room)))
  }

  /// As many planes at a time as are decoded side by side.
  private static func runs(_ planes: [PlaneShape]) -> [[PlaneShape]] {
    stride(from: 0, to: planes.count, by: WorkingRoom.streams).map {
      Array(planes[$0..<min($0 + WorkingRoom.streams, planes.count)])
    }
  }

  var usesBases: Bool { codecClass == .small || codecClass == .archive }

  /// The planes of the object that `basis` is of, nil if it lacks one.
  private func planes(of basis: Basis) -> [PlaneShape]? {
    guard let profile = context.profile,
      let first = shape.numbers.firstIndex(of: profile.layerNumbers[basis.firstLayerIndex]),
      let planes = shape.planes(
        plane: basis.plane, firstLayerIndex: first, layerCount: basis.layerCount),
      context.basis(of: planes)?.firstLayerIndex == basis.firstLayerIndex
    else { return nil }
    return planes
  }

  private func transform(
    _ raw: UnsafeRawBufferPointer, _ planes: [PlaneShape], _ basis: Basis,
    decodedInto room: UnsafeMutableRawBufferPointer
  ) -> EncodedBlock? {
    let steps = settings.steps
    let rawTokens = rawTokens(ofTransform: true)
    let isSmall = codecClass == .small
    let coding = TransformBlock.Settings(
      step: isSmall ? steps.small : steps.archive,
      coefficientSpreadMin: isSmall
        ? settings.coefficientSpreadMin : settings.coefficientSpreadMinOfArchive,
      tailFactorMax: settings.tailFactorMax, rounding: settings.rounding,
      residualFactorMax: settings.residualFactorMax, residualShareMore: settings.residualShareMore)
    var raws: [UnsafeRawBufferPointer] = unsafe []
    for plane in planes { unsafe raws.append(UnsafeRawBufferPointer(rebasing: raw[plane.range])) }
    guard
      let bytes = unsafe try? TransformBlock.encode(
        raws, planes, shape, context, basis, rawTokens: rawTokens, coding, working)
    else { return nil }
    return unsafe checked(bytes, planes, rawTokens: rawTokens, decodedInto: room)
  }

  /// A transform's block, if it is shorter than what it holds and can be decoded; decodes it into
  /// `room`.
  private func checked(
    _ bytes: [UInt8], _ planes: [PlaneShape], rawTokens: Int,
    decodedInto room: UnsafeMutableRawBufferPointer
  ) -> EncodedBlock? {
    let rawBytes = planes.reduce(0) { $0 + $1.byteCount }
    guard bytes.count < rawBytes, let first = planes.first else { return nil }
    var rooms: [UnsafeMutableRawBufferPointer] = unsafe []
    for plane in planes {
      unsafe rooms.append(UnsafeMutableRawBufferPointer(rebasing: room[plane.range]))
    }
    let isDecoded: Void? = unsafe bytes.withUnsafeBytes { bytes in
      unsafe try? context.decode(
        .transform, bytes, planes, rawTokens: rawTokens, into: rooms, working)
    }
    guard isDecoded != nil else { return nil }
    return EncodedBlock(
      kind: .transform, plane: first.plane, firstLayerIndex: first.layerIndex,
      layerCount: planes.count, rawTokens: rawTokens, bytes: bytes,
      decodedChecksum: unsafe BlockRun.checksum(of: rooms), rawByteCount: rawBytes,
      fellBack: false)
  }
}
