/// Products of the channels of all tokens: all of them, or a sketch where they are too many.
struct Scatter {
  private let width: Int
  /// The upper triangle, `[width²]` column-major; empty beside a sketch.
  private var products: [Float]
  private var sketch: ScatterSketch?

  /// Bytes that the products of `width` channels take, and finding their directions besides.
  static func bytes(width: Int) -> (held: Int, solving: Int) {
    (width * width * 4, (2 * width * width + 8 * width) * 4)
  }

  /// All products of `width` channels, none yet.
  init(width: Int) {
    self.width = width
    products = [Float](repeating: 0, count: width * width)
  }

  /// A sketch of them.
  init(_ sketch: ScatterSketch, width: Int) {
    self.width = width
    self.sketch = sketch
    products = []
  }

  /// Adds rows, `[count][width]`.
  mutating func add(
    _ rows: [Float], count: Int, _ algebra: LinearAlgebra
  ) throws(LearningFault) {
    if sketch == nil {
      algebra.addScatter(of: rows, count: count, width: width, to: &products)
    } else {
      try sketch?.add(rows, count: count, algebra)
    }
  }

  /// The principal directions about the mean `offsets` of tokens of this `weight`.
  ///
  /// Channel c is multiplied by `scaling[c]` before. The products are used up.
  mutating func principal(
    scaling: [Float], offsets: [Double], weight: Double, rankMax: Int, _ algebra: LinearAlgebra
  ) throws(LearningFault) -> PrincipalDirections {
    if let directions = try sketch?.principal(
      scaling: scaling, offsets: offsets, weight: weight, rankMax: rankMax, algebra)
    {
      return directions
    }
    centre(scaling, offsets, weight)
    let variances = try algebra.solve(&products, order: width)
    let rank = min(width, rankMax)
    var rows: [Float] = []
    rows.reserveCapacity(rank * width)
    for index in 0..<rank {
      let column = width - 1 - index
      rows += products[column * width..<(column + 1) * width]
    }
    return PrincipalDirections(
      rows: rows, variances: variances.reversed().prefix(rank).map { max(0, $0) })
  }

  /// Makes covariances of the sums of products.
  private mutating func centre(_ scaling: [Float], _ offsets: [Double], _ weight: Double) {
    let share = Float(1 / weight)
    let means = offsets.map { Float($0) }
    let width = width
    // Safe because: index column · width + row lies in the triangle, which has width² places.
    unsafe products.withUnsafeMutableBufferPointer { products in
      for column in 0..<width {
        for row in 0...column {
          let index = column * width + row
          let covariance = unsafe products[index] * share - means[row] * means[column]
          unsafe products[index] = covariance * scaling[row] * scaling[column]
        }
      }
    }
  }
}
