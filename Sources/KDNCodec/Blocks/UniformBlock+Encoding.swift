internal import CKernels
internal import KDNCore

extension UniformBlock {
  /// Encodes one plane; nil if it must stay exact: values that are not finite or too large for
  /// their step, or nothing that varies.
  ///
  /// The step is `factor` with weights, without them `factor` times the plane's spread.
  static func encode(
    _ raw: UnsafeRawBufferPointer, _ plane: PlaneShape, _ shape: PartShape,
    _ context: BlockContext, rawTokens: Int, factor: Float, rounding: Float, weights: [Float]?,
    _ room: WorkingRoom
  ) throws(FieldFault) -> [UInt8]? {
    let tokens = shape.tokenCount - rawTokens
    let channels = plane.channels
    guard tokens > 0, plane.dims > 0 else { return nil }
    let rows = unsafe room.take(.rows, Float.self, count: tokens * channels)
    try unsafe Rows.load(
      raw, plane, shape, context, rawTokens: rawTokens, into: rows, stride: channels, column: 0)
    let statistics = unsafe try Rows.statistics(rows, tokens: tokens, channels: channels)
    let sigma = Rows.rootMeanSquare(statistics.spreads)
    let step = weights == nil ? factor * sigma : factor
    guard sigma > 0 else { return nil }
    guard FloatField.stepRange.contains(step) else { return nil }
    let steps = weights.map { $0.map { step * $0 } } ?? Array(repeating: step, count: channels)
    guard
      let coefficients = unsafe try Coefficients(
        rows, tokens: tokens, count: channels, stride: channels, statistics, steps: steps,
        rounding: rounding, room)
    else { return nil }
    var writer = unsafe ByteWriter(
      capacity: headerBytes + 4 * channels + coefficients.coded.byteCount + 1024
        + RawTokens.byteCount(plane, shape, rawTokens: rawTokens))
    writer.put(step.bitPattern)
    unsafe writer.put(UInt32(coefficients.coded.wordCount))
    unsafe writer.put(UInt32(coefficients.coded.escapeCount))
    writer.put(weights == nil ? 0 : weighted)
    writer.put(contentsOf: coefficients.classes)
    writer.pad()
    writer.put(array: coefficients.means)
    writer.pad()
    unsafe RawTokens.pack(raw, plane, shape, rawTokens: rawTokens, to: &writer)
    writer.pad()
    unsafe coefficients.coded.write(to: &writer)
    return writer.bytes
  }
}

/// Values of planes as f32, `[token][channel]`, unrotated.
enum Rows {
  /// Means, spreads and largest magnitudes of the columns.
  struct Statistics {
    var means: [Float]
    var spreads: [Float]
    var largest: [Float]
  }

  /// Loads the tokens of a plane from `rawTokens` on into columns `column` and following.
  ///
  /// - Throws: a fault that names `values` if one is not finite.
  static func load(
    _ raw: UnsafeRawBufferPointer, _ plane: PlaneShape, _ shape: PartShape,
    _ context: BlockContext, rawTokens: Int, into rows: UnsafeMutableBufferPointer<Float>,
    stride: Int, column: Int
  ) throws(FieldFault) {
    let window = rawTokens * plane.dims * shape.elementType.byteCount
    let capacity = rows.count - column
    unsafe try plane.withKernelPlane(
      shape.elementType, tokens: shape.tokenCount, from: rawTokens, context.rotation(of: plane)
    ) { plane throws(FieldFault) in
      let result = unsafe kdn_load(
        Kernel.path, plane, raw.baseAddress.map { unsafe $0 + window },
        UInt64(raw.count - window), rows.baseAddress.map { unsafe $0 + column },
        UInt64(stride), UInt64(capacity))
      try Kernel.check(result, "values")
    }
  }

  /// Statistics of all columns.
  static func statistics(
    _ rows: UnsafeMutableBufferPointer<Float>, tokens: Int, channels: Int
  ) throws(FieldFault) -> Statistics {
    let zeros = [Float](repeating: 0, count: channels)
    var found = Statistics(means: zeros, spreads: zeros, largest: zeros)
    try Kernel.check(
      unsafe kdn_statistics(
        Kernel.path, rows.baseAddress, UInt64(tokens), UInt64(channels), UInt64(channels),
        &found.means, &found.spreads, &found.largest), "values")
    return found
  }

  /// The root of the mean of squares.
  static func rootMeanSquare(_ numbers: [Float]) -> Float {
    let sum = numbers.reduce(0.0) { $0 + Double($1) * Double($1) }
    return Float((sum / Double(max(1, numbers.count))).squareRoot())
  }
}

/// Quantised and coded columns: what uniform and transform blocks have in common.
@safe struct Coefficients {
  /// Class of each column.
  let classes: [UInt8]
  /// Mean of each column in sixteenths of its step.
  let means: [Int16]
  /// The coded columns, in memory of the room.
  let coded: CodedStream

  /// Quantises the first `count` columns of rows `stride` long; nil if a value or mean is too large
  /// for its step.
  init?(
    _ rows: UnsafeMutableBufferPointer<Float>, tokens: Int, count: Int, stride: Int,
    _ statistics: Rows.Statistics, steps: [Float], rounding: Float, _ room: WorkingRoom
  ) throws(FieldFault) {
    let lanes = Int(KDN_LANES)
    let dense = (count + lanes - 1) / lanes * lanes
    var means = [Int16](repeating: 0, count: count)
    let q = unsafe room.take(.symbols, Int16.self, count: tokens * dense)
    let quantizedMeans = unsafe kdn_quantize_means(statistics.means, steps, UInt64(count), &means)
    guard quantizedMeans != KDN_OUT_OF_RANGE else { return nil }
    try Kernel.check(quantizedMeans, "means")
    let quantized = unsafe kdn_quantize(
      Kernel.path, rows.baseAddress, UInt64(tokens), UInt64(count), UInt64(stride), means, steps,
      rounding, q.baseAddress, UInt64(dense))
    guard quantized != KDN_OUT_OF_RANGE else { return nil }
    try Kernel.check(quantized, "values")
    let tables = StaticTables.shared
    var classes = [UInt8](repeating: 0, count: count)
    try Kernel.check(
      unsafe kdn_estimate_classes(
        Kernel.path, tables.moments, UInt64(count), UInt64(tokens), UInt64(dense), q.baseAddress,
        UInt64(q.count), &classes), "classes")
    self.classes = classes
    self.means = means
    unsafe coded = try CodedStream(
      compacting: q, classes: classes, tokens: tokens, stride: dense, tables: tables.encode,
      tableCount: tables.count, room)
  }
}
