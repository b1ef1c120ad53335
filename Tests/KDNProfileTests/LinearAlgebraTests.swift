import Testing

@testable import KDNProfile

@Suite struct LinearAlgebraTests {
  @Test func eigenvectorsOfAKnownMatrixAreFound() throws {
    let algebra = try LinearAlgebra()
    // Upper triangle by columns of [[2, 1], [1, 2]].
    var matrix: [Float] = [2, 0, 1, 2]
    let values = try algebra.solve(&matrix, order: 2)
    #expect(abs(values[0] - 1) < 1e-5 && abs(values[1] - 3) < 1e-5)
    let half = Float(0.5).squareRoot()
    #expect(matrix.allSatisfy { abs(abs($0) - half) < 1e-5 })
    #expect(matrix[0] * matrix[1] < 0 && matrix[2] * matrix[3] > 0)
  }

  @Test func scatterGramAndCombinationsAreThoseOfPlainLoops() throws {
    let algebra = try LinearAlgebra()
    var numbers = Numbers(seed: 7)
    let (count, width) = (5, 1100)
    let rows = (0..<count * width).map { _ in numbers.normal() }
    var scatter = [Float](repeating: 0, count: width * width)
    algebra.addScatter(of: rows, count: count, width: width, to: &scatter)
    let gram = algebra.gram(of: rows, count: count, width: width)
    for (row, column) in [(0, 0), (3, 900), (1099, 1099)] {
      let wanted = (0..<count).reduce(Float(0)) {
        $0 + rows[$1 * width + row] * rows[$1 * width + column]
      }
      #expect(abs(scatter[column * width + row] - wanted) < 1e-3)
    }
    let wanted = (0..<width).reduce(Float(0)) { $0 + rows[width + $1] * rows[3 * width + $1] }
    #expect(abs(gram[3 * count + 1] - wanted) < 1e-2)
    let factors: [Float] = [1, 0, -2, 0, 0, 0, 3, 0, 0, 0.5]
    var sums = rows
    algebra.combine(&sums, count: count, width: width, factors: factors, sumCount: 2)
    for channel in [0, 511, 512, 1099] {
      #expect(abs(sums[channel] - (rows[channel] - 2 * rows[2 * width + channel])) < 1e-4)
      let second = 3 * rows[width + channel] + 0.5 * rows[4 * width + channel]
      #expect(abs(sums[width + channel] - second) < 1e-4)
    }
  }

  @Test func rowsBecomeOrthonormalAndTheFirstKeepsItsDirection() throws {
    let algebra = try LinearAlgebra()
    var numbers = Numbers(seed: 3)
    let (count, width) = (6, 40)
    var rows = (0..<count * width).map { _ in numbers.normal() }
    let first = Array(rows[..<width])
    try algebra.orthonormalise(&rows, count: count, width: width)
    let gram = algebra.gram(of: rows, count: count, width: width)
    for row in 0..<count {
      for column in row..<count {
        #expect(abs(gram[column * count + row] - (row == column ? 1 : 0)) < 1e-5)
      }
    }
    let length = first.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let along = zip(first, rows).reduce(Float(0)) { $0 + $1.0 * $1.1 }
    #expect(abs(abs(along) - length) < 1e-4)
  }

  @Test func aMissingLibraryIsToldWithThePackageThatHasIt() {
    do {
      _ = try LinearAlgebra(libraries: [["libnothing-here.so.0"], ["libc.so.6"]])
      Issue.record("opened routines that are not there")
    } catch {
      let text = "\(error)"
      #expect(text.contains("libnothing-here.so.0") && text.contains("libc.so.6"))
      #expect(text.contains("apt install libopenblas0-serial"))
    }
  }
}
