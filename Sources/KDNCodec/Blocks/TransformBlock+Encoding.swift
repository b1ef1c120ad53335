internal import CKernels
internal import KDNCore

extension TransformBlock {
  /// How a transform is quantised, and when it gives way.
  struct Settings {
    let step: Float
    let coefficientSpreadMin: Float
    let tailFactorMax: Float
    let rounding: Float
    let residualFactorMax: Float
    let residualShareMore: Float
  }

  /// Encodes the planes of a basis; nil if they must be coded without it: values that are not
  /// finite or too large, nothing that varies, or too much energy outside the basis.
  static func encode(
    _ raws: [UnsafeRawBufferPointer], _ planes: [PlaneShape], _ shape: PartShape,
    _ context: BlockContext, _ basis: Basis, rawTokens: Int, _ settings: Settings,
    _ room: WorkingRoom
  ) throws(FieldFault) -> [UInt8]? {
    let tokens = shape.tokenCount - rawTokens
    let channels = basis.channelCount
    guard tokens > 0 else { return nil }
    let rows = unsafe room.take(.rows, Float.self, count: tokens * channels)
    var column = 0
    for (index, plane) in planes.enumerated() {
      let raw = unsafe raws[index]
      try unsafe Rows.load(
        raw, plane, shape, context, rawTokens: rawTokens, into: rows, stride: channels,
        column: column)
      column += plane.channels
    }
    let values = unsafe try Rows.statistics(rows, tokens: tokens, channels: channels)
    let step = settings.step
    guard FloatField.stepRange.contains(step * 0x1p-15) else { return nil }
    let projected = unsafe try project(rows, tokens: tokens, basis, room)
    let found = unsafe try Rows.statistics(projected, tokens: tokens, channels: basis.rank)
    let residualMax = settings.residualFactorMax * basis.residual + settings.residualShareMore
    guard residual(values, found, basis) <= Double(residualMax) else { return nil }
    let count = coefficientCount(found, basis, settings)
    guard
      let coefficients = unsafe try Coefficients(
        projected, tokens: tokens, count: count, stride: basis.rank, found,
        steps: Array(repeating: step, count: count), rounding: settings.rounding, room)
    else { return nil }
    let used = zip(coefficients.classes, coefficients.means)
    let kept = max(1, used.reversed().drop { $0 == 0 && $1 == 0 }.count)
    let marks = CoarseRows(
      Array(coefficients.classes.prefix(kept)), sizes: found.largest.map { $0 / step }, basis)
    return unsafe assembled(
      coefficients, marks, step: step * 0x1p-15, raws, planes, shape, rawTokens: rawTokens)
  }

  /// How many coefficients are kept: up to the last of which the profile expects a spread that
  /// counts, and more where the energy behind it is larger than expected.
  ///
  /// What is small throughout costs bytes and time and gives little. But what a text has in
  /// directions that are small in others must not be lost.
  private static func coefficientCount(
    _ found: Rows.Statistics, _ basis: Basis, _ settings: Settings
  ) -> Int {
    let spreadMin = settings.coefficientSpreadMin * settings.step
    let count = 1 + (basis.spreads.lastIndex { $0 >= spreadMin } ?? 0)
    var room = 0.0
    for spread in basis.spreads[count...] {
      room += Double(settings.tailFactorMax) * Double(spread) * Double(spread)
    }
    for index in stride(from: basis.rank - 1, to: count - 1, by: -1) {
      let mean = Double(found.means[index])
      let spread = Double(found.spreads[index])
      room -= mean * mean + spread * spread
      if room < 0 { return index + 1 }
    }
    return count
  }

  private static func assembled(
    _ coefficients: Coefficients, _ marks: CoarseRows, step: Float,
    _ raws: [UnsafeRawBufferPointer], _ planes: [PlaneShape], _ shape: PartShape, rawTokens: Int
  ) -> [UInt8] {
    let count = marks.classes.count
    var writer = unsafe ByteWriter(
      capacity: headerBytes + 4 * count + coefficients.coded.byteCount + 1024)
    writer.put(step.bitPattern)
    unsafe writer.put(UInt32(coefficients.coded.wordCount))
    unsafe writer.put(UInt32(coefficients.coded.escapeCount))
    writer.put(UInt32(count) | marks.shift << countBits)
    writer.put(contentsOf: marks.classes)
    writer.pad()
    writer.put(array: Array(coefficients.means.prefix(count)))
    writer.pad()
    for (index, plane) in planes.enumerated() {
      let raw = unsafe raws[index]
      unsafe RawTokens.pack(raw, plane, shape, rawTokens: rawTokens, to: &writer)
    }
    writer.pad()
    unsafe coefficients.coded.write(to: &writer)
    return writer.bytes
  }

  /// Coefficients of all rows, `[token][rank]`, in memory of `room`.
  private static func project(
    _ rows: UnsafeMutableBufferPointer<Float>, tokens: Int, _ basis: Basis, _ room: WorkingRoom
  ) throws(FieldFault) -> UnsafeMutableBufferPointer<Float> {
    let projected = unsafe room.take(.counts, Float.self, count: tokens * basis.rank)
    let inverse = basis.scales.map { 1 / $0 }
    let needed = kdn_project_scratch_bytes(UInt64(tokens), UInt64(basis.channelCount))
    let scratch = unsafe room.take(.scratch, byteCount: Int(needed))
    try unsafe basis.withMatrix { matrix throws(FieldFault) in
      try Kernel.check(
        unsafe kdn_project(
          Kernel.path, rows.baseAddress, UInt64(tokens), UInt64(basis.channelCount), basis.means,
          inverse, matrix.baseAddress, UInt64(basis.rank), projected.baseAddress,
          scratch.baseAddress, UInt64(scratch.count)), "transform")
    }
    return unsafe projected
  }

  /// The share of the energy about the profile's means that lies outside the basis.
  private static func residual(
    _ values: Rows.Statistics, _ found: Rows.Statistics, _ basis: Basis
  ) -> Double {
    var whole = 0.0
    for channel in values.means.indices {
      let scale = Double(basis.scales[channel])
      let mean = (Double(values.means[channel]) - Double(basis.means[channel])) / scale
      let spread = Double(values.spreads[channel]) / scale
      whole += mean * mean + spread * spread
    }
    var inside = 0.0
    for (mean, spread) in zip(found.means, found.spreads) {
      inside += Double(mean) * Double(mean) + Double(spread) * Double(spread)
    }
    return whole > 0 ? max(0, 1 - inside / whole) : 0
  }
}
