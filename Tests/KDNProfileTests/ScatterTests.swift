import Testing

@testable import KDNProfile

@Suite struct ScatterTests {
  @Test func aSketchThatNeverGaveUpARowFindsWhatAllProductsFind() throws {
    let algebra = try LinearAlgebra()
    var numbers = Numbers(seed: 21)
    let (count, width) = (40, 12)
    var full = Scatter(width: width)
    var sketch = Scatter(ScatterSketch(kept: width, width: width), width: width)
    var offsets = [Double](repeating: 0, count: width)
    for _ in 0..<3 {
      // Far from the mean of zero, so that products without it would be others.
      let rows = (0..<count * width).map { index in
        Float(index % width) * (0.3 * numbers.normal() + 1)
      }
      for (index, value) in rows.enumerated() { offsets[index % width] += Double(value) }
      try full.add(rows, count: count, algebra)
      try sketch.add(rows, count: count, algebra)
    }
    let weight = Double(3 * count)
    offsets = offsets.map { $0 / weight }
    let scaling = (0..<width).map { 1 + Float($0 % 3) }
    let wanted = try full.principal(
      scaling: scaling, offsets: offsets, weight: weight, rankMax: 5, algebra)
    let found = try sketch.principal(
      scaling: scaling, offsets: offsets, weight: weight, rankMax: 5, algebra)
    #expect(found.variances.count == 5 && found.rows.count == 5 * width)
    for (left, right) in zip(found.variances, wanted.variances) {
      #expect(abs(left - right) < 0.01 * right)
    }
    for row in 0..<5 {
      let range = row * width..<(row + 1) * width
      let product = zip(found.rows[range], wanted.rows[range]).reduce(0) { $0 + $1.0 * $1.1 }
      #expect(abs(abs(product) - 1) < 0.01)
    }
  }
}
