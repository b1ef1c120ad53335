internal import KDNCore

/// The leading tokens of a plane that a lossy block keeps as they are: `[kvHead][token][dim]`.
enum RawTokens {
  /// Bytes of them.
  static func byteCount(_ plane: PlaneShape, _ shape: PartShape, rawTokens: Int) -> Int {
    plane.byteCount / shape.tokenCount * rawTokens
  }

  /// Copies them from the block into the plane.
  static func unpack(
    _ kept: UnsafeRawBufferPointer, _ plane: PlaneShape, _ shape: PartShape, rawTokens: Int,
    into room: UnsafeMutableRawBufferPointer
  ) {
    let row = plane.dims * shape.elementType.byteCount
    for head in 0..<plane.heads where rawTokens > 0 {
      let from = unsafe UnsafeRawBufferPointer(
        rebasing: kept[head * rawTokens * row..<(head + 1) * rawTokens * row])
      let start = head * shape.tokenCount * row
      unsafe UnsafeMutableRawBufferPointer(rebasing: room[start..<start + rawTokens * row])
        .copyMemory(from: from)
    }
  }

  /// Appends them to a block.
  static func pack(
    _ raw: UnsafeRawBufferPointer, _ plane: PlaneShape, _ shape: PartShape, rawTokens: Int,
    to writer: inout ByteWriter
  ) {
    let row = plane.dims * shape.elementType.byteCount
    for head in 0..<plane.heads where rawTokens > 0 {
      let start = head * shape.tokenCount * row
      unsafe writer.put(contentsOf: raw[start..<start + rawTokens * row])
    }
  }
}
