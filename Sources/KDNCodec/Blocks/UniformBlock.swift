internal import CKernels
internal import KDNCore

/// A block of one plane, quantised with one step per channel: see `Codecs`, section Uniform block.
@safe struct UniformBlock {
  static let headerBytes = 16
  /// Flag: steps are multiplied by the profile's weights.
  static let weighted: UInt32 = 1

  private let step: Float
  private let weights: [Float]?
  private let classes: UnsafeRawBufferPointer
  private let means: [Int16]
  private let kept: UnsafeRawBufferPointer
  private let coded: CodedStreamView

  /// Reads the fields of a block.
  ///
  /// - Throws: a fault that names the field at fault.
  init(_ job: PlaneJob, _ shape: PartShape, _ context: BlockContext) throws(FieldFault) {
    let plane = unsafe job.plane
    var reader = unsafe BlockReader(job.bytes)
    unsafe step = try StepField.take(from: &reader)
    let words: UInt32 = unsafe try reader.take("wordCount")
    let escapes: UInt32 = unsafe try reader.take("escapeCount")
    let flags: UInt32 = unsafe try reader.take("flags")
    guard flags & ~Self.weighted == 0 else {
      throw FieldFault("flags", value: UInt64(flags), limit: 1, "unknown flags")
    }
    weights = flags == Self.weighted ? context.weights(of: plane) : nil
    guard (weights != nil) == (flags == Self.weighted) else {
      throw FieldFault("flags", value: 1, limit: 0, "the profile has no weights of this plane")
    }
    unsafe classes = try reader.take("classes", count: plane.channels)
    unsafe try reader.pad()
    unsafe means = try reader.takeArray("means", of: Int16.self, count: plane.channels)
    unsafe try reader.pad()
    unsafe kept = try reader.take(
      "rawTokens", count: RawTokens.byteCount(plane, shape, rawTokens: job.rawTokens))
    unsafe try reader.pad()
    unsafe coded = try CodedStreamView(from: &reader, words: words, escapes: escapes)
  }

  /// The block's stream; its coefficients go to memory of `room` for stream `index`.
  func stream(_ index: Int, tokens: Int, _ room: WorkingRoom) -> kdn_stream {
    let tables = StaticTables.shared
    return unsafe coded.stream(
      index, classes, tokens: tokens, tables: tables.decode, tableCount: tables.count, room)
  }

  /// Makes the plane's elements of the decoded coefficients `q`.
  ///
  /// - Throws: a fault that names `uniform`.
  func finish(
    _ job: PlaneJob, _ q: UnsafeMutableBufferPointer<Int16>, _ shape: PartShape,
    _ context: BlockContext, _ room: WorkingRoom
  ) throws(FieldFault) {
    let plane = unsafe job.plane
    let target = unsafe job.target
    unsafe RawTokens.unpack(kept, plane, shape, rawTokens: job.rawTokens, into: target)
    let window = unsafe job.rawTokens * plane.dims * shape.elementType.byteCount
    unsafe try plane.withKernelPlane(
      shape.elementType, tokens: shape.tokenCount, from: job.rawTokens, context.rotation(of: plane)
    ) { plane throws(FieldFault) in
      let scratch = unsafe room.take(.scratch, byteCount: Int(kdn_row_scratch_bytes(plane)))
      let result = unsafe withOptionalPointer(weights) { weights in
        unsafe kdn_uniform_reconstruct(
          Kernel.path, plane, bytes(classes), means, weights, step, q.baseAddress,
          UInt64(q.count), scratch.baseAddress, UInt64(scratch.count),
          target.baseAddress.map { unsafe $0 + window }, UInt64(target.count - window))
      }
      try Kernel.check(result, "uniform")
    }
  }
}

/// Runs `body` with the address of the first of `list`, nil if there is no list.
func withOptionalPointer<Element, Result>(
  _ list: [Element]?, _ body: (UnsafePointer<Element>?) -> Result
) -> Result {
  guard let list else { return body(nil) }
  return unsafe list.withUnsafeBufferPointer { unsafe body($0.baseAddress) }
}

/// The step at the front of lossy blocks.
enum StepField {
  /// Takes a step; throws a fault that names `step` if it is outside its bounds.
  static func take(from reader: inout BlockReader) throws(FieldFault) -> Float {
    let bits: UInt32 = unsafe try reader.take("step")
    let step = Float(bitPattern: bits)
    guard FloatField.stepRange.contains(step) else {
      throw FieldFault("step", value: UInt64(bits), limit: 0, "not a number of its kind")
    }
    return step
  }
}
