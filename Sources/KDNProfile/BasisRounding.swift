/// A basis as decoders take it: whole numbers in units of 2^-15.
struct RoundedBasis {
  /// `[rank][width]`, row-major.
  let matrix: [Int16]
  /// Spread along each row.
  let spreads: [Float]
  /// Share of the variance that lies outside.
  let residual: Float

  /// Units of a length of 1.
  static let unit: Float = 32_768

  /// Rounds directions, leaves out those of a spread below `spreadMin` but for the first, and fixes
  /// the sign of each so that its largest entry is positive.
  init(_ directions: PrincipalDirections, width: Int, variance: Double, spreadMin: Float) {
    let spreads = directions.variances.map { $0.squareRoot() }
    let rank = max(min(1, spreads.count), spreads.prefix { $0 >= spreadMin }.count)
    var matrix: [Int16] = []
    matrix.reserveCapacity(rank * width)
    for row in 0..<rank {
      let entries = directions.rows[row * width..<(row + 1) * width]
      let largest = entries.max { abs($0) < abs($1) } ?? 0
      let factor = largest < 0 ? -Self.unit : Self.unit
      for entry in entries {
        matrix.append(Int16((entry * factor).rounded().clamped(to: -32_767...32_767)))
      }
    }
    self.matrix = matrix
    self.spreads = Array(spreads.prefix(rank))
    let inside = directions.variances.prefix(rank).reduce(0) { $0 + Double($1) }
    residual = variance > 0 ? Float(max(0, min(1, 1 - inside / variance))) : 0
  }

  /// The largest sum of a column's entries without their signs.
  ///
  /// Times the largest coefficient in steps it must stay below 2^31, or a decoder refuses the
  /// block.
  static func columnSumMax(_ matrix: [Int16], width: Int) -> Int {
    var sums = [Int](repeating: 0, count: width)
    for (index, entry) in matrix.enumerated() { sums[index % width] += abs(Int(entry)) }
    return sums.max() ?? 0
  }
}

extension Float {
  fileprivate func clamped(to range: ClosedRange<Float>) -> Float {
    Swift.min(Swift.max(self, range.lowerBound), range.upperBound)
  }
}
