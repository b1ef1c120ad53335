internal import Glibc

/// The few routines of BLAS and LAPACK that learning needs, from a library opened at run time.
///
/// Nothing links to it, since only `kdn profile learn` has a use for it. Matrices are of f32, in
/// arrays; *rows* are row-major `[count][width]`. Order of a square matrix: at most `orderMax`,
/// since LAPACK counts its work space in 32 bits.
@safe package struct LinearAlgebra: Sendable {
  /// Largest order of a matrix whose eigenvectors are sought.
  package static let orderMax = 16_384
  /// Files to try, in order: one library with both, or LAPACK and BLAS apart.
  package static let libraries = [["libopenblas.so.0"], ["liblapack.so.3", "libblas.so.3"]]

  /// The file that the routines came from.
  package let library: String
  private let routines: Routines

  /// Opens the first of `libraries` that has all routines, for `threadCount` threads if it has
  /// threads at all.
  ///
  /// - Throws: `LearningFault.noLinearAlgebra` if none is there.
  package init(
    libraries: [[String]] = Self.libraries, threadCount: Int = 1
  ) throws(LearningFault) {
    for names in libraries {
      guard let routines = unsafe Routines(names) else { continue }
      library = names.joined(separator: " and ")
      unsafe self.routines = routines
      unsafe routines.setThreads?(Int32(clamping: max(1, threadCount)))
      return
    }
    throw .noLinearAlgebra(tried: libraries.flatMap { $0 })
  }

  /// Adds the products of all columns of `rows` to the upper triangle of `scatter`, `[width²]`
  /// column-major: scatter += rowsᵀ·rows.
  func addScatter(of rows: [Float], count: Int, width: Int, to scatter: inout [Float]) {
    precondition(rows.count >= count * width && scatter.count == width * width)
    guard count > 0 else { return }
    // Safe because: all sizes were checked against the arrays above.
    unsafe routines.rankUpdate(
      "U", "N", [Int32(width)], [Int32(count)], [1], rows, [Int32(width)], [1], &scatter,
      [Int32(width)], 1, 1)
  }

  /// The products of all rows, the upper triangle of `[count²]` column-major: rows·rowsᵀ.
  func gram(of rows: [Float], count: Int, width: Int) -> [Float] {
    precondition(count > 0 && rows.count >= count * width)
    var gram = [Float](repeating: 0, count: count * count)
    // Safe because: all sizes were checked against the arrays above.
    unsafe routines.rankUpdate(
      "U", "T", [Int32(count)], [Int32(width)], [1], rows, [Int32(width)], [0], &gram,
      [Int32(count)], 1, 1)
    return gram
  }

  /// Turns the symmetric matrix in the upper triangle of `matrix` into its eigenvectors, one after
  /// another, and returns the eigenvalues; both ascending.
  ///
  /// - Throws: `LearningFault.notSolved` if the iteration does not end, which finite input never
  ///   brought about.
  func solve(_ matrix: inout [Float], order: Int) throws(LearningFault) -> [Float] {
    precondition((1...Self.orderMax).contains(order) && matrix.count == order * order)
    var values = [Float](repeating: 0, count: order)
    let workCount = 1 + 6 * order + 2 * order * order
    let integerCount = 3 + 5 * order
    var work = [Float](repeating: 0, count: workCount)
    var integers = [Int32](repeating: 0, count: integerCount)
    var status: [Int32] = [0]
    // Safe because: the matrix was checked above, and the work space is what LAPACK asks for.
    unsafe routines.solve(
      "V", "U", [Int32(order)], &matrix, [Int32(order)], &values, &work, [Int32(workCount)],
      &integers, [Int32(integerCount)], &status, 1, 1)
    guard status[0] == 0 else { throw .notSolved(order: order, status: Int(status[0])) }
    return values
  }

  /// Puts sums of rows in the place of the first `sumCount` rows.
  ///
  /// Sum i is that of factors[i][j] · row j, over `count` rows; `factors` is `[sumCount][count]`,
  /// and there are at most `count` sums.
  func combine(
    _ rows: inout [Float], count: Int, width: Int, factors: [Float], sumCount: Int
  ) {
    precondition(rows.count >= count * width && factors.count >= sumCount * count)
    precondition(sumCount <= count)
    guard sumCount > 0 else { return }
    var sums = [Float](repeating: 0, count: min(Self.combineColumns, width) * sumCount)
    for start in stride(from: 0, to: width, by: Self.combineColumns) {
      let columns = min(Self.combineColumns, width - start)
      // Safe because: columns start..<start + columns of `count` rows lie inside `rows`, whose
      // size was checked above, and `sums` has room for as many columns of `sumCount` rows.
      unsafe rows.withUnsafeBufferPointer { rows in
        guard let base = rows.baseAddress else { return }
        unsafe routines.multiply(
          "N", "N", [Int32(columns)], [Int32(sumCount)], [Int32(count)], [1], base + start,
          [Int32(width)], factors, [Int32(count)], [0], &sums, [Int32(columns)], 1, 1)
      }
      for sum in 0..<sumCount {
        for column in 0..<columns {
          rows[sum * width + start + column] = sums[sum * columns + column]
        }
      }
    }
  }

  /// Makes the first `count` rows orthonormal, each changed only by those before it and its sign.
  ///
  /// - Throws: `LearningFault.notSolved` if LAPACK refuses, which it does not for finite input.
  func orthonormalise(_ rows: inout [Float], count: Int, width: Int) throws(LearningFault) {
    precondition(count > 0 && count <= width && rows.count >= count * width)
    var factors = [Float](repeating: 0, count: count)
    let workCount = count * 64
    var work = [Float](repeating: 0, count: workCount)
    var status: [Int32] = [0]
    // Safe because: sizes were checked above; the work space is more than LAPACK's least.
    unsafe routines.triangulate(
      [Int32(width)], [Int32(count)], &rows, [Int32(width)], &factors, &work,
      [Int32(workCount)], &status)
    guard status[0] == 0 else { throw .notSolved(order: count, status: Int(status[0])) }
    // Safe because: as above.
    unsafe routines.rebuild(
      [Int32(width)], [Int32(count)], [Int32(count)], &rows, [Int32(width)], factors, &work,
      [Int32(workCount)], &status)
    guard status[0] == 0 else { throw .notSolved(order: count, status: Int(status[0])) }
  }

  /// Columns that are combined at once: bounds the room for sums.
  private static let combineColumns = 512
}
