internal import KDNCore

/// A linear transform over the channels of one plane of several layers.
package struct Basis: Hashable, Sendable {
  /// Index of the first layer among the layers of the profile's part.
  package let firstLayerIndex: Int
  /// How many layers of the first one's group, from it on.
  package let layerCount: Int
  /// Which plane of the layers.
  package let plane: Plane
  /// Channels of all the layers, in canonical order `[layer][kvHead][dim]`.
  package let channelCount: Int
  /// How many coefficients.
  package let rank: Int
  /// Share of the variance that lay outside the basis where it was learned.
  package let residual: Float
  /// What a channel's values are divided by before the transform, times 2^-15.
  package let scales: [Float]
  /// Mean of each channel, unrotated.
  package let means: [Float]
  /// Standard deviation of each coefficient.
  package let spreads: [Float]
  /// `[rank][channel]`, i16 little-endian, in units of 2^-15.
  let matrixBytes: ArraySlice<UInt8>

  /// Most layers times channels of a basis.
  static let channelCountMax = 1 << 20

  /// Creates a basis; `ProfileWriter` checks it.
  ///
  /// `matrix` is `[rank][channel]`; a value is `mean + scale * sum of coefficient * matrix`.
  package init(
    firstLayerIndex: Int, layerCount: Int, plane: Plane, residual: Float, scales: [Float],
    means: [Float], spreads: [Float], matrix: [Int16]
  ) {
    precondition(scales.count == means.count, "one scale and mean per channel")
    precondition(matrix.count == scales.count * spreads.count, "a row per coefficient")
    self.firstLayerIndex = firstLayerIndex
    self.layerCount = layerCount
    self.plane = plane
    channelCount = scales.count
    rank = spreads.count
    self.residual = residual
    self.scales = scales
    self.means = means
    self.spreads = spreads
    var writer = ByteWriter(capacity: 2 * matrix.count)
    writer.put(array: matrix)
    matrixBytes = writer.bytes[...]
  }

  /// Runs `body` with the matrix, `[rank][channel]`.
  @unsafe package func withMatrix<Result, Failure: Error>(
    _ body: (UnsafeBufferPointer<Int16>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let span = matrixBytes.span
    return unsafe try span.withUnsafeBytes { bytes throws(Failure) in
      unsafe try body(bytes.assumingMemoryBound(to: Int16.self))
    }
  }

  /// Throws a fault that names the field at fault if a number is outside its bounds.
  func check() throws(FieldFault) {
    guard (1...Self.channelCountMax).contains(channelCount) else {
      throw FieldFault(
        "channelCount", value: channelCount, limit: Self.channelCountMax, "must be 1 to that")
    }
    guard (1...channelCount).contains(rank) else {
      throw FieldFault("rank", value: rank, limit: channelCount, "must be 1 to the channels")
    }
    try FloatField.check([residual], "residual", .notNegative)
    try FloatField.check(scales, "scales", .positive)
    try FloatField.check(means, "means", .finite)
    try FloatField.check(spreads, "spreads", .notNegative)
  }

  /// Appends the record of a profile.
  func write(to writer: inout ByteWriter) {
    writer.put(UInt16(firstLayerIndex))
    writer.put(UInt16(layerCount))
    writer.put(plane.rawValue)
    writer.putZeros(3)
    writer.put(UInt32(channelCount))
    writer.put(UInt32(rank))
    writer.put(residual.bitPattern)
    writer.putZeros(4)
    FloatField.write(scales, to: &writer)
    FloatField.write(means, to: &writer)
    FloatField.write(spreads, to: &writer)
    writer.pad()
    writer.put(contentsOf: matrixBytes)
    writer.pad()
  }

  /// Takes the record of a profile.
  ///
  /// - Throws: a fault that names the field at fault.
  init(from reader: inout ByteReader) throws(FieldFault) {
    firstLayerIndex = Int(try reader.take("firstLayerIndex", as: UInt16.self))
    layerCount = Int(try reader.take("layerCount", as: UInt16.self))
    let rawPlane: UInt8 = try reader.take("plane")
    guard let plane = Plane(rawValue: rawPlane), plane != .object else {
      throw FieldFault("plane", value: UInt64(rawPlane), limit: 2, "no such plane")
    }
    self.plane = plane
    try reader.takeReserved(count: 3)
    let channels = Int(try reader.take("channelCount", as: UInt32.self))
    let rank = Int(try reader.take("rank", as: UInt32.self))
    guard (1...Self.channelCountMax).contains(channels), (1...channels).contains(rank) else {
      throw FieldFault("rank", value: rank, limit: channels, "must be 1 to the channels")
    }
    channelCount = channels
    self.rank = rank
    residual = Float(bitPattern: try reader.take("residual"))
    try reader.takeReserved(count: 4)
    scales = try FloatField.take(from: &reader, "scales", count: channels)
    means = try FloatField.take(from: &reader, "means", count: channels)
    spreads = try FloatField.take(from: &reader, "spreads", count: rank)
    try reader.takePadding()
    matrixBytes = try reader.takeBytes("matrix", count: 2 * rank * channels)
    try reader.takePadding()
    try check()
  }
}

extension ByteReader {
  /// Takes the zeros up to the next multiple of 8; throws a fault if they are none.
  mutating func takePadding() throws(FieldFault) {
    try takeReserved("padding", count: -offset & 7)
  }
}
