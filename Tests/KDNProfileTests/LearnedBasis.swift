import KDNCodec
import Testing

@testable import KDNProfile

/// A basis as numbers, with what tests ask of it.
struct LearnedBasis {
  let basis: Basis
  /// `[rank][channel]`, in units of 1.
  let rows: [[Float]]

  init(_ basis: Basis) {
    self.basis = basis
    let width = basis.channelCount
    rows = basis.withMatrix { matrix in
      (0..<basis.rank).map { row in
        (0..<width).map { Float(matrix[row * width + $0]) / RoundedBasis.unit }
      }
    }
  }

  /// The length of what `direction` has along the first `count` rows, for one of length 1.
  func share(of direction: [Float], first count: Int) -> Float {
    let length = direction.reduce(0) { $0 + $1 * $1 }
    let inside = rows.prefix(count).reduce(Float(0)) { sum, row in
      let along = zip(row, direction).reduce(0) { $0 + $1.0 * $1.1 }
      return sum + along * along
    }
    return (inside / length).squareRoot()
  }

  /// The largest difference of products of rows from those of orthonormal ones.
  var skew: Float {
    var largest: Float = 0
    for (first, left) in rows.enumerated() {
      for (second, right) in rows.enumerated().dropFirst(first) {
        let product = zip(left, right).reduce(0) { $0 + $1.0 * $1.1 }
        largest = max(largest, abs(product - (first == second ? 1 : 0)))
      }
    }
    return largest
  }

  /// The largest sum of a column's entries without their signs, in units of 2^-15.
  var columnSumMax: Int {
    basis.withMatrix { RoundedBasis.columnSumMax(Array($0), width: basis.channelCount) }
  }
}

extension SyntheticKV {
  /// What a learner that was fed these chunks makes of them.
  func learn(
    _ kind: Profile.Kind, _ chunks: [KVChunk], options: LearningOptions? = nil,
    calibration: Calibration? = nil
  ) throws -> (profile: Profile, report: LearningReport) {
    var learner = try ProfileLearner(
      kind, layout: layout, part: part, calibration: calibration, options: options)
    for chunk in chunks { try learner.feed(chunk) }
    let (bytes, report) = try learner.finish()
    return (try Profile(validating: bytes), report)
  }

  /// Direction of a hidden factor in the channels of a basis, in the units of its scales.
  func direction(_ factor: Int, of basis: Basis) -> [Float] {
    let layers = basis.firstLayerIndex..<basis.firstLayerIndex + basis.layerCount
    let plane = Int(basis.plane.rawValue)
    let mixed = layers.flatMap { mixing[$0][plane].map { $0[factor] } }
    return zip(mixed, basis.scales).map { $0 / $1 }
  }
}
