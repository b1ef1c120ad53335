internal import CKernels
internal import KDNCore

/// A block of coefficients of a profile's basis: see `Codecs`, section Transform block.
@safe struct TransformBlock {
  static let headerBytes = 16
  /// Bits of the field that hold how many coefficients there are; the others are the shift.
  static let countBits: UInt32 = 24
  /// Set in the class byte of a coefficient whose row counts in coarser steps.
  static let coarse = UInt8(KDN_COARSE)

  private let basis: Basis
  private let step: Float
  /// Coarse rows count in steps of 2^shift.
  private let shift: UInt32
  /// As in the block.
  private let marked: UnsafeRawBufferPointer
  /// The same without marks.
  private let classes: UnsafeRawBufferPointer
  private let means: [Int16]
  /// Raw tokens of each plane.
  private let kept: [UnsafeRawBufferPointer]
  private let coded: CodedStreamView

  /// Reads the fields of a block; its classes go to memory of `room` for stream `index`.
  ///
  /// - Throws: a fault that names the field at fault.
  init(
    _ job: PlaneJob, _ index: Int, _ shape: PartShape, _ context: BlockContext, _ room: WorkingRoom
  ) throws(FieldFault) {
    guard let basis = unsafe context.basis(of: job.planes) else {
      throw FieldFault("profile", value: 0, limit: 1, "the profile has no basis of these planes")
    }
    self.basis = basis
    var reader = unsafe BlockReader(job.bytes)
    unsafe step = try StepField.take(from: &reader)
    let words: UInt32 = unsafe try reader.take("wordCount")
    let escapes: UInt32 = unsafe try reader.take("escapeCount")
    let both: UInt32 = unsafe try reader.take("coefficientCount")
    let count = Int(both & (1 << Self.countBits - 1))
    guard (1...basis.rank).contains(count) else {
      throw FieldFault("coefficientCount", value: count, limit: basis.rank, "beyond the basis")
    }
    shift = both >> Self.countBits
    guard shift <= KDN_SHIFT_MAX else {
      throw FieldFault("shift", value: Int(shift), limit: Int(KDN_SHIFT_MAX), "too large")
    }
    unsafe marked = try reader.take("classes", count: count)
    unsafe classes = try Self.unmarked(marked, index, room)
    unsafe try reader.pad()
    unsafe means = try reader.takeArray("means", of: Int16.self, count: count)
    unsafe try reader.pad()
    var kept: [UnsafeRawBufferPointer] = unsafe []
    for plane in unsafe job.planes {
      let byteCount = unsafe RawTokens.byteCount(plane, shape, rawTokens: job.rawTokens)
      unsafe kept.append(try reader.take("rawTokens", count: byteCount))
    }
    unsafe self.kept = kept
    unsafe try reader.pad()
    unsafe coded = try CodedStreamView(from: &reader, words: words, escapes: escapes)
  }

  private static func unmarked(
    _ marked: UnsafeRawBufferPointer, _ index: Int, _ room: WorkingRoom
  ) throws(FieldFault) -> UnsafeRawBufferPointer {
    let classes = unsafe room.take(.classes(index), UInt8.self, count: marked.count)
    for at in marked.indices {
      let byte = unsafe marked[at]
      guard byte != coarse else {
        throw FieldFault("classes", value: Int(byte), limit: 0, "coarse, and not coded")
      }
      unsafe classes[at] = byte & ~coarse
    }
    return UnsafeRawBufferPointer(classes)
  }

  /// The block's stream; its coefficients go to memory of `room` for stream `index`.
  func stream(_ index: Int, tokens: Int, _ room: WorkingRoom) -> kdn_stream {
    let tables = StaticTables.shared
    return unsafe coded.stream(
      index, classes, tokens: tokens, tables: tables.decode, tableCount: tables.count, room)
  }

  /// Makes the planes' elements of the decoded coefficients `q`, which are put in another order.
  ///
  /// - Throws: a fault that names `transform` or `means`.
  func finish(
    _ job: PlaneJob, _ q: UnsafeMutableBufferPointer<Int16>, _ shape: PartShape,
    _ context: BlockContext, _ room: WorkingRoom
  ) throws(FieldFault) {
    let planes = unsafe job.planes
    for (index, plane) in planes.enumerated() {
      unsafe RawTokens.unpack(
        kept[index], plane, shape, rawTokens: job.rawTokens, into: job.targets[index])
    }
    let largest = unsafe try order(q, tokens: shape.tokenCount - job.rawTokens, room)
    unsafe try basis.withMatrix { matrix throws(FieldFault) in
      unsafe try checkBound(largest, matrix)
      let offsets = unsafe try offsets(matrix)
      var column = 0
      for (index, plane) in planes.enumerated() {
        let window = unsafe job.rawTokens * plane.dims * shape.elementType.byteCount
        let target = unsafe UnsafeMutableRawBufferPointer(rebasing: job.targets[index][window...])
        unsafe try plane.withKernelPlane(
          shape.elementType, tokens: shape.tokenCount, from: job.rawTokens,
          context.rotation(of: plane)
        ) { kernelPlane throws(FieldFault) in
          let columns = column..<column + plane.channels
          unsafe try reconstruct(q, matrix, offsets, columns, kernelPlane, room, into: target)
        }
        column += plane.channels
      }
    }
  }

  /// Puts the coefficients in the order that the kernels take them in; returns the largest size.
  private func order(
    _ q: UnsafeMutableBufferPointer<Int16>, tokens: Int, _ room: WorkingRoom
  ) throws(FieldFault) -> UInt64 {
    let needed = unsafe kdn_order_scratch_bytes(UInt64(marked.count))
    let scratch = unsafe room.take(.scratch, byteCount: Int(needed))
    var largest: UInt32 = 0
    try Kernel.check(
      unsafe kdn_transform_order(
        Kernel.path, bytes(marked), UInt64(marked.count), UInt64(tokens), q.baseAddress,
        UInt64(q.count), &largest, scratch.baseAddress, UInt64(scratch.count)), "transform")
    return UInt64(largest)
  }

  /// Throws a fault unless every sum of products fits 32 bits.
  private func checkBound(
    _ largest: UInt64, _ matrix: UnsafeBufferPointer<Int16>
  ) throws(FieldFault) {
    var sums = [UInt32](repeating: 0, count: basis.channelCount)
    let bound = unsafe kdn_column_bound(
      bytes(marked), UInt64(marked.count), matrix.baseAddress, UInt64(basis.channelCount), shift,
      &sums)
    let (product, overflow) = bound.multipliedReportingOverflow(by: largest)
    guard !overflow, product < 1 << 31 else {
      throw FieldFault("transform", value: largest, limit: bound, "sums may exceed 32 bits")
    }
  }

  private func offsets(_ matrix: UnsafeBufferPointer<Int16>) throws(FieldFault) -> [Float] {
    var offsets = [Float](repeating: 0, count: basis.channelCount)
    try Kernel.check(
      unsafe kdn_transform_offsets(
        means, UInt64(means.count), matrix.baseAddress, UInt64(basis.channelCount), basis.scales,
        basis.means, step, &offsets), "means")
    return offsets
  }

  private func reconstruct(
    _ q: UnsafeMutableBufferPointer<Int16>, _ matrix: UnsafeBufferPointer<Int16>,
    _ offsets: [Float], _ columns: Range<Int>, _ plane: UnsafePointer<kdn_plane>,
    _ room: WorkingRoom, into target: UnsafeMutableRawBufferPointer
  ) throws(FieldFault) {
    let scales = basis.scales.span.extracting(columns)
    let offsets = offsets.span.extracting(columns)
    let needed = unsafe kdn_transform_scratch_bytes(plane, UInt64(marked.count))
    let scratch = unsafe room.take(.scratch, byteCount: Int(needed))
    let result = unsafe scales.withUnsafeBufferPointer { scales in
      unsafe offsets.withUnsafeBufferPointer { offsets in
        unsafe kdn_transform_reconstruct(
          Kernel.path, plane, bytes(marked), UInt64(marked.count), matrix.baseAddress,
          UInt64(basis.channelCount), UInt64(columns.lowerBound), shift, scales.baseAddress,
          offsets.baseAddress, step, q.baseAddress, UInt64(q.count), scratch.baseAddress,
          UInt64(scratch.count), target.baseAddress, UInt64(target.count))
      }
    }
    try Kernel.check(result, "transform")
  }
}
