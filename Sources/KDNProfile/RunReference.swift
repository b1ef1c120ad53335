internal import Glibc

/// What values of a run's channels are usual, from medians over pieces of the first chunks: up to
/// half of them may be broken, and the reference stays.
struct RunReference {
  /// Tokens of a piece, at most.
  static let pieceTokens = 64
  /// A channel's spread counts as at least this share of its plane's.
  private static let spreadShareMin: Float = 1e-4

  /// Usual value of each channel.
  let means: [Float]
  /// Usual distance from it, positive.
  let spreads: [Float]

  /// Takes the medians of pieces of one plane, each rows `[count][width]`; a spread is never less
  /// than a small share of the plane's, so that channels that never change are none to divide by.
  init(_ pieces: [ArraySlice<Float>], width: Int) {
    let means = Self.medians(pieces, width: width) { piece, channel in
      var sum: Float = 0
      var count = 0
      for index in stride(from: piece.startIndex + channel, to: piece.endIndex, by: width) {
        sum += piece[index]
        count += 1
      }
      return sum / Float(count)
    }
    let powers = Self.medians(pieces, width: width) { piece, channel in
      var sum: Float = 0
      var count = 0
      for index in stride(from: piece.startIndex + channel, to: piece.endIndex, by: width) {
        let difference = piece[index] - means[channel]
        sum += difference * difference
        count += 1
      }
      return sum / Float(count)
    }
    let spreads = powers.map { $0.squareRoot() }
    let least = max(Self.rootMeanSquare(spreads[...]) * Self.spreadShareMin, 1e-12)
    self.means = means
    self.spreads = spreads.map { max($0, least) }
  }

  /// Joins the references of several planes, in order.
  init(joining planes: ArraySlice<RunReference>) {
    means = planes.flatMap(\.means)
    spreads = planes.flatMap(\.spreads)
  }

  /// The root of the mean of the squares; 0 for none.
  static func rootMeanSquare(_ values: ArraySlice<Float>) -> Float {
    guard !values.isEmpty else { return 0 }
    return (values.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot()
  }

  private static func medians(
    _ pieces: [ArraySlice<Float>], width: Int, of statistic: (ArraySlice<Float>, Int) -> Float
  ) -> [Float] {
    (0..<width).map { channel in
      let sorted = pieces.map { statistic($0, channel) }.sorted()
      guard !sorted.isEmpty else { return 0 }
      return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }
  }
}
