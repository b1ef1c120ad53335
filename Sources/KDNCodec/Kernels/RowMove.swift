internal import CKernels
package import KDNCore

/// Rows of one head, one after the other, that are moved to other positions.
package enum RowMove {
  /// Most dimensions of a head.
  package static let dimsMax = 4096

  /// Rotates and scales each row of `rows` into as many bytes of `moved` from `offset` on.
  ///
  /// A rotation is computed as f32, each product rounded, then the sum; then comes the scale; then
  /// one rounding to the type, nearest even. Without either the bytes are copied.
  /// - Throws: `badArgument` or `noRoom` if shapes and lengths do not agree.
  package static func move(
    _ rows: RawSpan, into moved: inout MutableRawSpan, at offset: Int = 0, dims: Int,
    type: ElementType, rotation: KeyRotation, scale: Float, path: KernelPath = .automatic
  ) throws(KernelFault) {
    let rowBytes = dims * type.byteCount
    guard rowBytes > 0, rows.byteCount % rowBytes == 0, offset >= 0,
      offset <= moved.byteCount - rows.byteCount
    else { throw .badArgument }
    let result: Int32 = unsafe rows.withUnsafeBytes { source in
      unsafe moved.withUnsafeMutableBytes { target in
        guard let from = source.baseAddress, let start = target.baseAddress else {
          return Int32(KDN_OK)
        }
        let to = unsafe start + offset
        guard !rotation.isIdle || scale != 1 else {
          unsafe to.copyMemory(from: from, byteCount: source.count)
          return Int32(KDN_OK)
        }
        return unsafe rotation.cosines.withUnsafeBufferPointer { cosines in
          unsafe rotation.sines.withUnsafeBufferPointer { sines in
            var plane = unsafe kdn_plane()
            unsafe plane.type = Int32(type.rawValue)
            unsafe plane.heads = 1
            unsafe plane.dims = UInt32(dims)
            unsafe plane.interleaved = rotation.isInterleaved ? 1 : 0
            unsafe plane.rotary_dims = UInt32(2 * cosines.count)
            unsafe plane.tokens = UInt64(source.count / rowBytes)
            unsafe plane.head_tokens = plane.tokens
            unsafe plane.cosines = cosines.baseAddress
            unsafe plane.sines = sines.baseAddress
            return unsafe kdn_move_rows(
              path.rawValue, &plane, scale, from, UInt64(source.count), to,
              UInt64(target.count - offset))
          }
        }
      }
    }
    try KernelFault.check(result)
  }
}

extension KernelTwin {
  /// One row moved, from elements to elements; see `RowMove`.
  package static func moved(
    _ row: [UInt32], type: ElementType, rotation: KeyRotation, scale: Float
  ) -> [UInt32] {
    guard !rotation.isIdle || scale != 1 else { return row }
    var x = row.map { value(of: $0, as: type) }
    let half = rotation.cosines.count
    for pair in 0..<half {
      let (i, j) = rotation.isInterleaved ? (2 * pair, 2 * pair + 1) : (pair, pair + half)
      let (a, b) = (x[i], x[j])
      let (c, s) = (rotation.cosines[pair], rotation.sines[pair])
      x[i] = a * c - b * s
      x[j] = b * c + a * s
    }
    if scale != 1 { x = x.map { $0 * scale } }
    return x.map { round($0, to: type) }
  }
}
