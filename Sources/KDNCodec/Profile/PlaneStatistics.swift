internal import KDNCore

/// What a profile knows of the channels of one plane, `[kvHead][dim]`.
package struct PlaneStatistics: Hashable, Sendable {
  /// Step of each channel as a multiple of the plane's; finite and positive.
  package let weights: [Float]
  /// Mean of each channel, unrotated.
  package let means: [Float]
  /// Standard deviation of each channel, unrotated.
  package let spreads: [Float]

  /// Takes three lists of one length, one number per channel; profiles check them.
  package init(weights: [Float], means: [Float], spreads: [Float]) {
    precondition(
      weights.count == means.count && means.count == spreads.count, "one number per channel")
    self.weights = weights
    self.means = means
    self.spreads = spreads
  }

  /// Throws a fault that names `weights`, `means` or `spreads` if a number is outside its bounds.
  func check() throws(FieldFault) {
    try FloatField.check(weights, "weights", .positive)
    try FloatField.check(means, "means", .finite)
    try FloatField.check(spreads, "spreads", .notNegative)
  }

  /// Appends the three lists.
  func write(to writer: inout ByteWriter) {
    FloatField.write(weights, to: &writer)
    FloatField.write(means, to: &writer)
    FloatField.write(spreads, to: &writer)
  }

  /// Takes three lists of `channels` numbers.
  init(from reader: inout ByteReader, channels: Int) throws(FieldFault) {
    weights = try FloatField.take(from: &reader, "weights", count: channels)
    means = try FloatField.take(from: &reader, "means", count: channels)
    spreads = try FloatField.take(from: &reader, "spreads", count: channels)
    try check()
  }
}

/// Lists of f32 in profiles.
enum FloatField {
  /// Which numbers a list may hold.
  enum Bounds {
    case finite
    case notNegative
    /// What steps are multiplied by: the products stay far from the ends of f32.
    case positive
  }

  /// Bounds of steps and of what they are multiplied by.
  static let stepRange: ClosedRange<Float> = 0x1p-40...0x1p40
  /// Largest magnitude of means and spreads.
  static let magnitudeMax: Float = 0x1p60

  /// Throws a fault that names `field` if a number is outside `bounds`.
  static func check(_ list: [Float], _ field: String, _ bounds: Bounds) throws(FieldFault) {
    for number in list {
      let isInside =
        switch bounds {
        case .finite: true
        case .notNegative: number >= 0
        case .positive: stepRange.contains(number)
        }
      guard number.magnitude <= magnitudeMax, isInside else {
        throw FieldFault(
          field, value: UInt64(number.bitPattern), limit: 0, "not a number of its kind")
      }
    }
  }

  /// Appends the numbers.
  static func write(_ list: [Float], to writer: inout ByteWriter) {
    for number in list { writer.put(number.bitPattern) }
  }

  /// Takes `count` numbers of any value; throws a fault that names `field` if bytes end before.
  static func take(
    from reader: inout ByteReader, _ field: StaticString, count: Int
  ) throws(FieldFault) -> [Float] {
    guard count <= reader.remaining / 4 else {
      throw FieldFault("\(field)", value: reader.remaining, limit: count, "bytes end before")
    }
    var list: [Float] = []
    list.reserveCapacity(count)
    for _ in 0..<count { list.append(Float(bitPattern: try reader.take(field))) }
    return list
  }
}
