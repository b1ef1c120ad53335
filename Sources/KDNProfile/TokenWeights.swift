/// How much tokens count: those far outside of what is usual count little.
///
/// A token's *energy* is the mean square of its channels' distances from the usual value, in usual
/// spreads: about 1. Beyond `energyMax` it counts as (energyMax / energy)², so that the more it
/// lies outside the less it adds, however large its values are.
enum TokenWeights {
  /// Energy up to which a token counts in full; three spreads in every channel at once.
  static let energyMax: Float = 9
  /// A chunk whose tokens count less than this on average is left out of the run.
  static let chunkWeightMin: Float = 0.5

  /// Puts distances in usual spreads in the place of values, `[count][width]`, and returns the
  /// weight of each token.
  static func standardise(
    _ rows: inout [Float], count: Int, _ reference: RunReference
  ) -> [Float] {
    let width = reference.means.count
    precondition(rows.count >= count * width)
    let inverses = reference.spreads.map { 1 / $0 }
    // Safe because: rows of the reference's width lie inside the array, checked above.
    return unsafe rows.withUnsafeMutableBufferPointer { rows in
      unsafe reference.means.withUnsafeBufferPointer { means in
        unsafe inverses.withUnsafeBufferPointer { inverses in
          (0..<count).map { token in
            var energy: Float = 0
            for channel in 0..<width {
              let index = token * width + channel
              let distance = unsafe (rows[index] - means[channel]) * inverses[channel]
              unsafe rows[index] = distance
              energy += distance * distance
            }
            return weight(energy: energy / Float(width))
          }
        }
      }
    }
  }

  /// The weight of a token of this energy, 0 to 1.
  static func weight(energy: Float) -> Float {
    guard energy > energyMax else { return 1 }
    let ratio = energyMax / energy
    return ratio.isFinite ? ratio * ratio : 0
  }
}
