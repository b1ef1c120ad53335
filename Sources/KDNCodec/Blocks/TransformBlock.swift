internal import CKernels
internal import KDNCore

/// Blocks of coefficients of a profile's basis: see `Codecs`, section Transform block.
enum TransformBlock {
  static let headerBytes = 16

  /// Decodes the planes of a block.
  ///
  /// - Throws: a fault that names the field at fault.
  static func decode(
    _ block: UnsafeRawBufferPointer, _ planes: [PlaneShape], _ shape: PartShape,
    _ context: BlockContext, rawTokens: Int, into rooms: [UnsafeMutableRawBufferPointer]
  ) throws(FieldFault) {
    guard let basis = context.basis(of: planes) else {
      throw FieldFault("profile", value: 0, limit: 1, "the profile has no basis of these planes")
    }
    var reader = unsafe BlockReader(block)
    let step = try unsafe StepField.take(from: &reader)
    let words: UInt32 = unsafe try reader.take("wordCount")
    let escapes: UInt32 = unsafe try reader.take("escapeCount")
    let count = unsafe Int(try reader.take("coefficientCount", as: UInt32.self))
    guard (1...basis.rank).contains(count) else {
      throw FieldFault("coefficientCount", value: count, limit: basis.rank, "beyond the basis")
    }
    let classes = unsafe try reader.take("classes", count: count)
    unsafe try reader.pad()
    let means = unsafe try reader.takeArray("means", of: Int16.self, count: count)
    unsafe try reader.pad()
    for (index, plane) in planes.enumerated() {
      let room = unsafe rooms[index]
      let kept = unsafe try reader.take(
        "rawTokens", count: RawTokens.byteCount(plane, shape, rawTokens: rawTokens))
      unsafe RawTokens.unpack(kept, plane, shape, rawTokens: rawTokens, into: room)
    }
    unsafe try reader.pad()
    let coded = unsafe try CodedStreamView(from: &reader, words: words, escapes: escapes)
    let q = unsafe try coefficients(coded, classes, tokens: shape.tokenCount - rawTokens)
    unsafe try basis.withMatrix { matrix throws(FieldFault) in
      unsafe try checkBound(classes, q, matrix, basis)
      let offsets = unsafe try offsets(means, matrix, basis, step: step)
      var column = 0
      for (index, plane) in planes.enumerated() {
        let room = unsafe rooms[index]
        unsafe try reconstruct(
          q, classes, matrix, basis, offsets, column: column, step: step, plane, shape, context,
          rawTokens: rawTokens, into: room)
        column += plane.channels
      }
    }
  }

  private static func coefficients(
    _ coded: CodedStreamView, _ classes: UnsafeRawBufferPointer, tokens: Int
  ) throws(FieldFault) -> [Int16] {
    let tables = StaticTables.shared
    let stride = unsafe Int(kdn_stride(bytes(classes), UInt64(classes.count)))
    var q = [Int16].unfilled(tokens * stride)
    let result = unsafe kdn_rans_decode(
      Kernel.path, tables.decode, tables.count, bytes(classes), UInt64(classes.count),
      UInt64(tokens), bytes(coded.stream), UInt64(coded.stream.count), bytes(coded.escapes),
      UInt64(coded.escapeCount), &q, UInt64(q.count))
    try Kernel.check(result, "transform")
    return q
  }

  /// Throws a fault unless every sum of products fits 32 bits.
  private static func checkBound(
    _ classes: UnsafeRawBufferPointer, _ q: [Int16], _ matrix: UnsafeBufferPointer<Int16>,
    _ basis: Basis
  ) throws(FieldFault) {
    var sums = [UInt32](repeating: 0, count: basis.channelCount)
    let bound = unsafe kdn_column_bound(
      bytes(classes), UInt64(classes.count), matrix.baseAddress, UInt64(basis.channelCount), &sums)
    let largest = UInt64(unsafe kdn_largest(q, UInt64(q.count)))
    let (product, overflow) = bound.multipliedReportingOverflow(by: largest)
    guard !overflow, product < 1 << 31 else {
      throw FieldFault("transform", value: largest, limit: bound, "sums may exceed 32 bits")
    }
  }

  private static func offsets(
    _ means: [Int16], _ matrix: UnsafeBufferPointer<Int16>, _ basis: Basis, step: Float
  ) throws(FieldFault) -> [Float] {
    var offsets = [Float](repeating: 0, count: basis.channelCount)
    try Kernel.check(
      unsafe kdn_transform_offsets(
        means, UInt64(means.count), matrix.baseAddress, UInt64(basis.channelCount), basis.scales,
        basis.means, step, &offsets), "means")
    return offsets
  }

  private static func reconstruct(
    _ q: [Int16], _ classes: UnsafeRawBufferPointer, _ matrix: UnsafeBufferPointer<Int16>,
    _ basis: Basis, _ offsets: [Float], column: Int, step: Float, _ plane: PlaneShape,
    _ shape: PartShape, _ context: BlockContext, rawTokens: Int,
    into room: UnsafeMutableRawBufferPointer
  ) throws(FieldFault) {
    let window = rawTokens * plane.dims * shape.elementType.byteCount
    let scales = basis.scales.span.extracting(column..<column + plane.channels)
    let offsets = offsets.span.extracting(column..<column + plane.channels)
    unsafe try plane.withKernelPlane(
      shape.elementType, tokens: shape.tokenCount, from: rawTokens, context.rotation(of: plane)
    ) { plane throws(FieldFault) in
      let scratch = ScratchRoom(
        byteCount: unsafe kdn_transform_scratch_bytes(plane, UInt64(classes.count)))
      let result = unsafe scales.withUnsafeBufferPointer { scales in
        unsafe offsets.withUnsafeBufferPointer { offsets in
          unsafe kdn_transform_reconstruct(
            Kernel.path, plane, bytes(classes), UInt64(classes.count), matrix.baseAddress,
            UInt64(basis.channelCount), UInt64(column), scales.baseAddress, offsets.baseAddress,
            step, q, UInt64(q.count), scratch.address, scratch.byteCount,
            room.baseAddress.map { unsafe $0 + window }, UInt64(room.count - window))
        }
      }
      try Kernel.check(result, "transform")
    }
  }
}
