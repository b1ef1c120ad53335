internal import CKernels

/// Which rows of a basis a block takes in coarse steps.
///
/// They are those of coefficients that vary little, whose own rounding hides that of the rows.
/// Their products take half the time.
struct CoarseRows {
  /// The class from which on a coefficient's row is taken as it is: a spread of four steps.
  static let classMax: UInt8 = 33
  /// The most that a coefficient may be, in steps, with room for how it is rounded.
  static let sizeMax: Float = 126
  /// How many of four rows that may be coarse must fit into bytes.
  static let fittingOfFour = 3

  /// The classes, marked.
  let classes: [UInt8]
  /// Coarse rows count in steps of 2^shift.
  let shift: UInt32

  /// Marks those of `classes` that are of coarse rows; `sizes` are the coefficients' largest
  /// magnitudes about their means, in steps.
  init(_ classes: [UInt8], sizes: [Float], _ basis: Basis) {
    var largest = [UInt16](repeating: 0, count: classes.count)
    unsafe basis.withMatrix { matrix in
      unsafe kdn_row_sizes(
        matrix.baseAddress, UInt64(classes.count), UInt64(basis.channelCount), &largest)
    }
    let candidates = classes.indices.filter { index in
      (1...Self.classMax).contains(classes[index]) && sizes[index] <= Self.sizeMax
    }
    let shifts = 0...UInt32(KDN_SHIFT_MAX)
    let shift =
      shifts.first { shift in
        let fitting = candidates.count { Self.fits(largest[$0], shift) }
        return 4 * fitting >= Self.fittingOfFour * candidates.count
      } ?? shifts.upperBound
    var marked = classes
    for index in candidates where Self.fits(largest[index], shift) {
      marked[index] |= TransformBlock.coarse
    }
    self.classes = marked
    self.shift = candidates.isEmpty ? 0 : shift
  }

  /// Whether values up to `size` become at most 127 steps of 2^shift.
  private static func fits(_ size: UInt16, _ shift: UInt32) -> Bool {
    (UInt32(size) + (1 << shift) / 2) >> shift <= 127
  }
}
