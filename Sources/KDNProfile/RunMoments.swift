/// Weighted sums of a run's channels and of their products, in usual spreads from usual values.
struct RunMoments {
  /// What is usual.
  let reference: RunReference
  /// Sum of the weights of all tokens.
  private(set) var weight = 0.0
  /// Tokens that count, and those among them that count less than others.
  private(set) var tokenCount = 0
  private(set) var outlierCount = 0
  /// Weighted sums and sums of squares of each channel.
  private var sums, squares: [Double]
  /// Weighted sums of squares about the mean of each segment, which codecs send apart.
  private var inner: [Double]
  /// Products of channels; nil for statistics of channels alone.
  private var scatter: Scatter?

  /// Tokens over which codecs send a mean of their own: those of a chunk of the usual length.
  static let segmentTokens = 256

  /// Starts without tokens.
  init(_ reference: RunReference, scatter: Scatter?) {
    self.reference = reference
    self.scatter = scatter
    sums = [Double](repeating: 0, count: reference.means.count)
    squares = sums
    inner = sums
  }

  /// Adds tokens, `rows` of `[count][width]` values, and uses the rows as room.
  ///
  /// Returns false if so many lie far outside that all of them are left out.
  mutating func add(
    _ rows: inout [Float], count: Int, _ algebra: LinearAlgebra?
  ) throws(LearningFault) -> Bool {
    let weights = TokenWeights.standardise(&rows, count: count, reference)
    let total = weights.reduce(0) { $0 + Double($1) }
    guard total.isFinite, total >= Double(TokenWeights.chunkWeightMin) * Double(count) else {
      return false
    }
    weight += total
    tokenCount += count
    outlierCount += weights.count { $0 < 1 }
    scale(&rows, by: weights)
    if let algebra { try scatter?.add(rows, count: count, algebra) }
    return true
  }

  /// Adds to the sums of channels, and multiplies each row by the root of its weight.
  private mutating func scale(_ rows: inout [Float], by weights: [Float]) {
    for start in stride(from: 0, to: weights.count, by: Self.segmentTokens) {
      let segment = start..<min(start + Self.segmentTokens, weights.count)
      add(segment: segment, of: &rows, weights)
    }
  }

  private mutating func add(
    segment: Range<Int>, of rows: inout [Float], _ weights: [Float]
  ) {
    let width = sums.count
    var linear = [Float](repeating: 0, count: width)
    var quadratic = linear
    // Safe because: `rows` holds `weights.count` rows of `width`, which `standardise` checked.
    unsafe rows.withUnsafeMutableBufferPointer { rows in
      unsafe linear.withUnsafeMutableBufferPointer { linear in
        unsafe quadratic.withUnsafeMutableBufferPointer { quadratic in
          for token in segment {
            let root = weights[token].squareRoot()
            for channel in 0..<width {
              let value = unsafe rows[token * width + channel] * root
              unsafe rows[token * width + channel] = value
              unsafe linear[channel] += value * root
              unsafe quadratic[channel] += value * value
            }
          }
        }
      }
    }
    let weight = segment.reduce(0) { $0 + Double(weights[$1]) }
    for channel in 0..<width {
      let (sum, square) = (Double(linear[channel]), Double(quadratic[channel]))
      sums[channel] += sum
      squares[channel] += square
      if weight > 0 { inner[channel] += max(0, square - sum * sum / weight) }
    }
  }

  /// Mean of each channel, in usual spreads from the usual value.
  var offsets: [Double] { sums.map { $0 / weight } }

  /// Mean and spread of each channel, as they are stored, and its spread about the means of
  /// segments.
  var channels: ChannelStatistics {
    var means: [Float] = []
    var spreads: [Float] = []
    var innerSpreads: [Float] = []
    for (channel, offset) in offsets.enumerated() {
      let variance = max(0, squares[channel] / weight - offset * offset)
      let unit = reference.spreads[channel]
      means.append(reference.means[channel] + Float(offset) * unit)
      spreads.append(Float(variance.squareRoot()) * unit)
      innerSpreads.append(Float((inner[channel] / weight).squareRoot()) * unit)
    }
    return ChannelStatistics(means: means, spreads: spreads, innerSpreads: innerSpreads)
  }

  /// The principal directions where channel c is measured in `units[c]`; takes the products away.
  mutating func principal(
    units: [Float], rankMax: Int, _ algebra: LinearAlgebra
  ) throws(LearningFault) -> PrincipalDirections? {
    let scaling = zip(reference.spreads, units).map { $0 / $1 }
    var taken = scatter
    scatter = nil
    return try taken?.principal(
      scaling: scaling, offsets: offsets, weight: weight, rankMax: rankMax, algebra)
  }
}

/// What is known of the channels of a run.
struct ChannelStatistics {
  let means: [Float]
  /// Standard deviation over all tokens.
  let spreads: [Float]
  /// Standard deviation about the means of segments.
  let innerSpreads: [Float]
}

/// Directions of greatest variance, in descending order.
struct PrincipalDirections {
  /// Orthonormal rows `[variances.count][width]`.
  let rows: [Float]
  /// Variance along each direction.
  let variances: [Float]
}
