internal import KDNCore

/// What the blocks of one object have in common; decodes any of them.
struct BlockContext: Sendable {
  /// The planes of the object; nil for an opaque object.
  let shape: PartShape?
  /// The slice of layers and heads.
  let part: Part
  /// The profile that the object names, if it is there.
  let profile: Profile?
  /// The rotation of each group of the layout whose keys are rotated and coded lossily.
  let rotations: [RotationTable?]

  /// Collects what decoding the blocks of an object takes.
  ///
  /// `frequencies` and `rotatedGroups` are indexed by the layout's groups.
  ///
  /// - Throws: a fault that names `frequency`.
  init(
    _ facts: EncodingFacts, _ shape: PartShape?, profile: Profile?, frequencies: [[Double]],
    rotatedGroups: Set<Int>
  ) throws(FieldFault) {
    self.shape = shape
    part = facts.part
    self.profile = profile
    var rotations: [RotationTable?] = []
    for (group, frequencies) in frequencies.enumerated() {
      let isNeeded = rotatedGroups.contains(group) && !frequencies.isEmpty
      rotations.append(
        isNeeded
          ? try RotationTable(
            frequencies: frequencies, firstToken: facts.firstToken, tokens: facts.tokenCount)
          : nil)
    }
    self.rotations = rotations
  }

  /// The table by which a plane is rotated, nil if it is not.
  func rotation(of plane: PlaneShape) -> RotationTable? {
    guard plane.rotation != nil, rotations.indices.contains(plane.groupIndex) else { return nil }
    return rotations[plane.groupIndex]
  }

  /// The profile's weights of a plane's channels, nil if it has none.
  func weights(of plane: PlaneShape) -> [Float]? {
    guard let shape else { return nil }
    return profile?.weights(of: plane, shape.numbers, part: part)
  }

  /// The profile's basis of exactly these planes, nil if it has none.
  func basis(of planes: [PlaneShape]) -> Basis? {
    guard let shape else { return nil }
    return profile?.basis(of: planes, shape.numbers, part: part)
  }

  /// Decodes a block of planes into one room for each plane, as long as the plane.
  ///
  /// - Throws: a fault that names the field at fault.
  func decode(
    _ kind: BlockKind, _ bytes: UnsafeRawBufferPointer, _ planes: [PlaneShape], rawTokens: Int,
    into rooms: [UnsafeMutableRawBufferPointer], _ working: WorkingRoom
  ) throws(FieldFault) {
    guard let room = unsafe rooms.first else {
      preconditionFailure("a block of planes has planes")
    }
    switch kind {
    case .raw, .zstd, .lz4: unsafe try Self.decodeOpaque(kind, bytes, into: room)
    case .exact, .uniform, .transform:
      let job = unsafe PlaneJob(
        kind: kind, bytes: bytes, planes: planes, rawTokens: rawTokens, targets: rooms)
      if let fault = unsafe decode([job], working).first ?? nil { throw fault }
    }
  }

  /// Decodes a block that knows nothing of what it holds.
  ///
  /// - Throws: a fault that names `zstd`, `lz4` or `blockByteCount`.
  static func decodeOpaque(
    _ kind: BlockKind, _ bytes: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
  ) throws(FieldFault) {
    switch kind {
    case .zstd: unsafe try GeneralPurpose.unzstd(bytes, into: room)
    case .lz4: unsafe try GeneralPurpose.unlz4(bytes, into: room)
    case .raw, .exact, .uniform, .transform:
      guard bytes.count == room.count else {
        throw FieldFault(
          "blockByteCount", value: bytes.count, limit: room.count, "not as long as the plane")
      }
      unsafe room.copyMemory(from: bytes)
    }
  }
}
