internal import CKernels
internal import KDNCore

/// The C kernels on arrays, by a path of choice: `KernelTwin` gives the same bits.
package enum NativeKernels {
  /// Cosines and sines of the angles of tokens.
  ///
  /// - Throws: `badArgument` if an angle is not below 2^31 in size.
  package static func rotation(
    frequencies: [Double], firstToken: UInt64, tokens: Int
  ) throws(KernelFault) -> (cosines: [Float], sines: [Float]) {
    var cosines = [Float](repeating: 0, count: frequencies.count * tokens)
    var sines = cosines
    try KernelFault.check(
      unsafe kdn_rope_table(
        frequencies, UInt64(frequencies.count), firstToken, UInt64(tokens), &cosines, &sines))
    return (cosines, sines)
  }

  /// Encodes a matrix `[token][stride]`; 256 frequencies for each class from 1 on.
  ///
  /// - Throws: `badTable`, `badArgument`, `noRoom` as `kdn_rans_encode` says.
  package static func encode(
    _ path: KernelPath, _ q: [Int16], classes: [UInt8], frequencies: [[UInt16]], tokens: Int,
    capacity: Int? = nil
  ) throws(KernelFault) -> KernelStream {
    var tables = [UInt64](repeating: 0, count: 256 * (frequencies.count + 1))
    unsafe kdn_padding_tables(nil, &tables)
    for (index, row) in frequencies.enumerated() {
      guard row.count == 256 else { throw .badTable }
      var table = [UInt64](repeating: 0, count: 256)
      try KernelFault.check(unsafe kdn_encode_table(row, &table))
      tables.replaceSubrange(256 * (index + 1)..<256 * (index + 2), with: table)
    }
    var stream = [UInt8](repeating: 0, count: capacity ?? (192 + 2 * q.count))
    var escapes = [UInt8](repeating: 0, count: 2 * q.count)
    var streamBytes: UInt64 = 0
    var escapeCount: UInt64 = 0
    try KernelFault.check(
      unsafe kdn_rans_encode(
        path.rawValue, tables, UInt32(frequencies.count + 1), classes, UInt64(classes.count),
        UInt64(tokens), q, UInt64(q.count), &stream, UInt64(stream.count), &streamBytes, &escapes,
        UInt64(escapes.count), &escapeCount))
    return KernelStream(
      bytes: Array(stream.prefix(Int(streamBytes))),
      escapes: Array(escapes.prefix(2 * Int(escapeCount))))
  }

  /// Decodes a matrix `[token][stride]`.
  ///
  /// - Throws: what `kdn_rans_decode` says of a malformed stream.
  package static func decode(
    _ path: KernelPath, _ stream: KernelStream, classes: [UInt8], frequencies: [[UInt16]],
    tokens: Int
  ) throws(KernelFault) -> [Int16] {
    let tables = try decodeTables(frequencies)
    let stride = Int(unsafe kdn_stride(classes, UInt64(classes.count)))
    var q = [Int16](repeating: 0, count: stride * tokens)
    try KernelFault.check(
      unsafe kdn_rans_decode(
        path.rawValue, tables, UInt32(frequencies.count + 1), classes, UInt64(classes.count),
        UInt64(tokens), stream.bytes, UInt64(stream.bytes.count), stream.escapes,
        UInt64(stream.escapes.count / 2), &q, UInt64(q.count)))
    return q
  }

  static func decodeTables(_ frequencies: [[UInt16]]) throws(KernelFault) -> [UInt32] {
    var tables = [UInt32](repeating: 0, count: Int(KDN_SLOTS) * (frequencies.count + 1))
    unsafe kdn_padding_tables(&tables, nil)
    for (index, row) in frequencies.enumerated() {
      guard row.count == 256 else { throw .badTable }
      var table = [UInt32](repeating: 0, count: Int(KDN_SLOTS))
      try KernelFault.check(unsafe kdn_decode_table(row, &table))
      let first = Int(KDN_SLOTS) * (index + 1)
      tables.replaceSubrange(first..<first + Int(KDN_SLOTS), with: table)
    }
    return tables
  }

  /// Frequencies of the static classes, class 1 first.
  package static var classFrequencies: [[UInt16]] {
    (1...Int32(KDN_CLASSES)).map { cls in
      // Safe because: a class in range has 256 constants.
      let row = unsafe UnsafeBufferPointer(start: kdn_class_frequencies(cls), count: 256)
      return unsafe Array(row)
    }
  }

  // MARK: planes

  /// Runs `body` with the window in C's form and the scratch that it takes; a transform's depends
  /// on how many coefficients it has.
  static func withPlane(
    _ window: KernelWindow, coefficients: UInt64? = nil,
    _ body: (UnsafePointer<kdn_plane>, inout [UInt8]) -> Int32
  ) throws(KernelFault) {
    var plane = unsafe kdn_plane()
    unsafe plane.type = Int32(window.type.rawValue)
    unsafe plane.heads = UInt32(window.heads)
    unsafe plane.dims = UInt32(window.dims)
    unsafe plane.tokens = UInt64(window.tokens)
    unsafe plane.head_tokens = UInt64(window.headTokens)
    unsafe plane.interleaved = window.rotation?.isInterleaved == true ? 1 : 0
    unsafe plane.rotary_first = UInt32(window.rotation?.firstDim ?? 0)
    unsafe plane.rotary_dims = UInt32(window.rotation?.dims ?? 0)
    let cosines = window.rotation?.cosines ?? []
    let sines = window.rotation?.sines ?? []
    let needed = window.tokens * (window.rotation?.dims ?? 0) / 2
    guard cosines.count >= needed, sines.count >= needed else { throw .badArgument }
    let result = unsafe cosines.withUnsafeBufferPointer { cosines in
      unsafe sines.withUnsafeBufferPointer { sines in
        unsafe plane.cosines = cosines.baseAddress
        unsafe plane.sines = sines.baseAddress
        let scratchBytes =
          unsafe coefficients.map { unsafe kdn_transform_scratch_bytes(&plane, $0) }
          ?? kdn_scratch_bytes(&plane)
        var scratch = [UInt8](repeating: 0, count: Int(scratchBytes))
        return unsafe body(&plane, &scratch)
      }
    }
    try KernelFault.check(result)
  }

  /// Decodes a uniform block's stream into `room`, the window's span.
  ///
  /// - Throws: what `kdn_uniform_decode` says.
  package static func uniform(
    _ path: KernelPath, _ window: KernelWindow, _ steps: KernelSteps, _ stream: KernelStream,
    frequencies: [[UInt16]], into room: inout [UInt8]
  ) throws(KernelFault) {
    let tables = try decodeTables(frequencies)
    guard steps.classes.count == window.channels, steps.means.count == window.channels,
      (steps.weights?.count ?? window.channels) == window.channels
    else { throw .badArgument }
    try unsafe withPlane(window) {
      unsafe kdn_uniform_decode(
        path.rawValue, tables, UInt32(frequencies.count + 1), $0, steps.classes, steps.means,
        steps.weights, steps.step, stream.bytes, UInt64(stream.bytes.count), stream.escapes,
        UInt64(stream.escapes.count / 2), &$1, UInt64($1.count), &room, UInt64(room.count))
    }
  }

  /// Elements of one plane of a transform block, from its compact symbols, into `room`.
  ///
  /// - Throws: what `kdn_transform_order` and `kdn_transform_reconstruct` say.
  package static func transform(
    _ path: KernelPath, _ window: KernelWindow, _ basis: KernelBasis, _ q: [Int16],
    into room: inout [UInt8]
  ) throws(KernelFault) {
    let count = UInt64(basis.classes.count)
    guard basis.matrix.count == basis.classes.count * basis.columns,
      basis.scales.count == window.channels, basis.offsets.count == window.channels
    else { throw .badArgument }
    var q = q
    var largest: UInt32 = 0
    var scratch = [UInt8](repeating: 0, count: Int(kdn_order_scratch_bytes(count)))
    try KernelFault.check(
      unsafe kdn_transform_order(
        path.rawValue, basis.classes, count, UInt64(window.tokens), &q, UInt64(q.count), &largest,
        &scratch, UInt64(scratch.count)))
    try unsafe withPlane(window, coefficients: count) {
      unsafe kdn_transform_reconstruct(
        path.rawValue, $0, basis.classes, count, basis.matrix, UInt64(basis.columns),
        UInt64(basis.firstColumn), basis.shift, basis.scales, basis.offsets, basis.step, q,
        UInt64(q.count), &$1, UInt64($1.count), &room, UInt64(room.count))
    }
  }
}
