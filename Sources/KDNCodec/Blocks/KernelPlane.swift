internal import CKernels
internal import KDNCore

extension PlaneShape {
  /// Runs `body` with the plane as kernels want it: tokens from `rawTokens` on.
  ///
  /// `tables` is nil where nothing is rotated, or the rotation is to be left as it is.
  func withKernelPlane<Result>(
    _ type: ElementType, tokens: Int, from rawTokens: Int = 0, _ tables: RotationTable? = nil,
    _ body: (UnsafePointer<kdn_plane>) throws(FieldFault) -> Result
  ) throws(FieldFault) -> Result {
    var plane = unsafe kdn_plane()
    unsafe plane.type = Int32(type.rawValue)
    unsafe plane.heads = UInt32(heads)
    unsafe plane.dims = UInt32(dims)
    unsafe plane.tokens = UInt64(tokens - rawTokens)
    unsafe plane.head_tokens = UInt64(tokens)
    guard let tables, let rotation else { return unsafe try body(&plane) }
    unsafe plane.interleaved = rotation.pairing == .interleaved ? 1 : 0
    unsafe plane.rotary_first = UInt32(rotation.firstDim)
    unsafe plane.rotary_dims = UInt32(rotation.dims)
    let skipped = rawTokens * rotation.dims / 2
    let cosines = tables.cosines.span.extracting(skipped...)
    let sines = tables.sines.span.extracting(skipped...)
    return unsafe try cosines.withUnsafeBufferPointer { cosines throws(FieldFault) in
      unsafe try sines.withUnsafeBufferPointer { sines throws(FieldFault) in
        unsafe plane.cosines = cosines.baseAddress
        unsafe plane.sines = sines.baseAddress
        return unsafe try body(&plane)
      }
    }
  }
}

/// Cosines and sines of the angles by which an object's keys are rotated.
struct RotationTable: Sendable {
  /// `[token][pair]`.
  let cosines: [Float]
  /// `[token][pair]`.
  let sines: [Float]

  /// Works out the angles of `tokens` tokens from `firstToken` on.
  ///
  /// - Throws: a fault that names `frequency` if an angle is too large.
  init(frequencies: [Double], firstToken: UInt64, tokens: Int) throws(FieldFault) {
    let count = frequencies.count * tokens
    var cosines = [Float](repeating: 0, count: count)
    var sines = [Float](repeating: 0, count: count)
    let result = unsafe kdn_rope_table(
      frequencies, UInt64(frequencies.count), firstToken, UInt64(tokens), &cosines, &sines)
    try Kernel.check(result, "frequency")
    self.cosines = cosines
    self.sines = sines
  }
}
