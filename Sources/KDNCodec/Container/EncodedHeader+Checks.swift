internal import KDNCore

extension EncodedHeader {
  /// Checks that the blocks lie one behind another and hold each plane once.
  ///
  /// - Throws: a fault that names the field of the index at fault.
  func checkBlocks() throws(FieldFault) {
    guard let shape else { return try checkOpaque() }
    var isCovered = [Bool](repeating: false, count: shape.planes.count)
    var covered = 0
    var end = headerByteCount
    var previous: BlockEntry?
    for block in blocks {
      try check(block, behind: end)
      end = block.range.upperBound
      if let previous {
        guard
          (previous.firstLayerIndex, previous.plane) < (block.firstLayerIndex, block.plane)
        else {
          throw FieldFault(
            "firstLayerIndex", value: block.firstLayerIndex, limit: previous.firstLayerIndex,
            "blocks are ordered by first layer and plane")
        }
      }
      previous = block
      guard let planes = planes(of: block) else {
        throw FieldFault(
          "firstLayerIndex", value: block.firstLayerIndex, limit: shape.layers.count,
          "the part has no such planes")
      }
      try check(block, planes)
      for plane in planes {
        let index = shape.layers[plane.layerIndex].lowerBound + (plane.plane == .values ? 1 : 0)
        guard !isCovered[index] else {
          throw FieldFault(
            "firstLayerIndex", value: plane.layerIndex, limit: block.firstLayerIndex,
            "a plane stands in two blocks")
        }
        isCovered[index] = true
        covered += 1
      }
    }
    guard covered == shape.planes.count else {
      throw FieldFault(
        "blockCount", value: covered, limit: shape.planes.count, "planes are missing")
    }
  }

  private func checkOpaque() throws(FieldFault) {
    guard blocks.count == 1 else {
      throw FieldFault("blockCount", value: blocks.count, limit: 1, "an opaque object has one")
    }
    let block = blocks[0]
    try check(block, behind: headerByteCount)
    guard block.plane == .object, block.firstLayerIndex == 0, block.layerCount == 1,
      block.rawTokens == 0
    else {
      throw FieldFault(
        "plane", value: Int(block.plane.rawValue), limit: 3, "an opaque object has no planes")
    }
    guard block.kind == .raw || block.kind == .zstd || block.kind == .lz4 else {
      throw FieldFault(
        "blockKind", value: Int(block.kind.rawValue), limit: 5, "not for opaque objects")
    }
    try checkLength(block, rawBytes: rawByteCount)
  }

  private func check(_ block: BlockEntry, behind end: Int) throws(FieldFault) {
    guard block.offset == (end + 7) / 8 * 8 else {
      throw FieldFault(
        "blockOffset", value: block.offset, limit: (end + 7) / 8 * 8,
        "blocks lie one behind another")
    }
  }

  private func check(_ block: BlockEntry, _ planes: [PlaneShape]) throws(FieldFault) {
    guard block.kind == .transform || block.layerCount == 1 else {
      throw FieldFault(
        "layerCount", value: block.layerCount, limit: 1, "only a transform spans layers")
    }
    let isOpaque = planes.contains { $0.isOpaque }
    let isAllowed =
      switch block.kind {
      case .raw: true
      case .zstd, .lz4: isOpaque
      case .exact: !isOpaque
      case .uniform: !isOpaque && codecClass.isLossy
      case .transform: !isOpaque && (codecClass == .small || codecClass == .archive)
      }
    guard isAllowed, !(block.kind.isLossy && facts.layout?.elementType == .i8) else {
      throw FieldFault(
        "blockKind", value: Int(block.kind.rawValue), limit: 5, "not for this plane and class")
    }
    guard block.rawTokens < (block.kind.isLossy ? facts.tokenCount : 1) else {
      throw FieldFault(
        "rawTokens", value: block.rawTokens, limit: facts.tokenCount,
        "lossy blocks code a token or more, the others all")
    }
    try checkLength(block, rawBytes: planes.reduce(0) { $0 + $1.byteCount })
  }

  private func checkLength(_ block: BlockEntry, rawBytes: Int) throws(FieldFault) {
    guard block.byteCount > 0,
      block.kind == .raw ? block.byteCount == rawBytes : block.byteCount < rawBytes
    else {
      throw FieldFault(
        "blockByteCount", value: block.byteCount, limit: rawBytes,
        "a block is shorter than what it holds, or raw")
    }
  }
}
