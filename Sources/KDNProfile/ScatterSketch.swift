/// The largest directions of the products of many channels, in bounded room.
///
/// Rows are gathered until the room is full; then they are turned so that the first ones hold the
/// largest directions of all, and the rest is given up (incremental principal components: Ross et
/// al., "Incremental learning for robust visual tracking", 2008). Exact as long as the room was
/// never full or the rank of all rows is at most `kept`.
struct ScatterSketch {
  /// Rows that stay when the room is full.
  let kept: Int
  private let width: Int
  /// `[2 · kept][width]`.
  private var rows: [Float]
  private var used = 0

  /// Bytes of the rows of a sketch that keeps `kept`.
  static func rowBytes(kept: Int, width: Int) -> Int { 2 * kept * width * 4 }

  /// Bytes of work space while rows are turned: their products, LAPACK's room and the factors.
  static func workBytes(kept: Int) -> Int { 4 * (2 * kept) * (2 * kept) * 4 + 48 * kept * 4 }

  /// A sketch without rows.
  init(kept: Int, width: Int) {
    precondition(kept > 0 && width > 0 && 2 * kept <= LinearAlgebra.orderMax)
    self.kept = kept
    self.width = width
    rows = [Float](repeating: 0, count: 2 * kept * width)
  }

  /// Adds rows, `[count][width]`.
  mutating func add(
    _ added: [Float], count: Int, _ algebra: LinearAlgebra
  ) throws(LearningFault) {
    precondition(added.count >= count * width)
    var taken = 0
    while taken < count {
      if used == 2 * kept { try shrink(algebra) }
      let piece = min(count - taken, 2 * kept - used)
      let source = taken * width..<(taken + piece) * width
      rows.replaceSubrange(used * width..<(used + piece) * width, with: added[source])
      used += piece
      taken += piece
    }
  }

  /// Turns the rows: directions descending, at most `kept` of them, each as long as its share.
  private mutating func shrink(_ algebra: LinearAlgebra) throws(LearningFault) {
    var products = algebra.gram(of: rows, count: used, width: width)
    _ = try algebra.solve(&products, order: used)
    let left = min(kept, used)
    var factors: [Float] = []
    factors.reserveCapacity(left * used)
    for index in 0..<left {
      let column = used - 1 - index
      factors += products[column * used..<(column + 1) * used]
    }
    algebra.combine(&rows, count: used, width: width, factors: factors, sumCount: left)
    used = left
  }

  /// The principal directions: see `Scatter`.
  mutating func principal(
    scaling: [Float], offsets: [Double], weight: Double, rankMax: Int, _ algebra: LinearAlgebra
  ) throws(LearningFault) -> PrincipalDirections {
    if used > kept { try shrink(algebra) }
    guard used > 0 else { return PrincipalDirections(rows: [], variances: []) }
    for row in 0..<used {
      for channel in 0..<width { rows[row * width + channel] *= scaling[channel] }
    }
    let lengths = try straighten(algebra)
    guard used > 0 else { return PrincipalDirections(rows: [], variances: []) }
    var products = covariance(lengths, scaling, offsets, weight)
    let variances = try algebra.solve(&products, order: used)
    let rank = min(used, rankMax)
    var factors: [Float] = []
    for index in 0..<rank {
      let column = used - 1 - index
      factors += products[column * used..<(column + 1) * used]
    }
    algebra.combine(&rows, count: used, width: width, factors: factors, sumCount: rank)
    return PrincipalDirections(
      rows: Array(rows[..<(rank * width)]),
      variances: variances.reversed().prefix(rank).map { max(0, $0) })
  }

  /// Makes the rows orthonormal and returns how long they were, squared.
  private mutating func straighten(_ algebra: LinearAlgebra) throws(LearningFault) -> [Float] {
    try shrink(algebra)
    var lengths: [Float] = []
    for row in 0..<min(used, width) {
      let range = row * width..<(row + 1) * width
      let length = rows[range].reduce(0) { $0 + $1 * $1 }
      // Beyond the precision of the products a direction is noise.
      guard length > max((lengths.first ?? 0) * 1e-7, .leastNormalMagnitude) else { break }
      let inverse = 1 / length.squareRoot()
      for index in range { rows[index] *= inverse }
      lengths.append(length)
    }
    used = lengths.count
    guard used > 0 else { return [] }
    try algebra.orthonormalise(&rows, count: used, width: width)
    return lengths
  }

  /// The covariance in terms of the rows: their own products less those of the mean.
  private func covariance(
    _ lengths: [Float], _ scaling: [Float], _ offsets: [Double], _ weight: Double
  ) -> [Float] {
    let along = (0..<used).map { row in
      var sum = 0.0
      for channel in 0..<width {
        sum += offsets[channel] * Double(scaling[channel] * rows[row * width + channel])
      }
      return Float(sum)
    }
    var products = [Float](repeating: 0, count: used * used)
    let share = Float(1 / weight)
    for column in 0..<used {
      for row in 0...column { products[column * used + row] = -along[row] * along[column] }
      products[column * used + column] += lengths[column] * share
    }
    return products
  }
}
