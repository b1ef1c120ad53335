internal import Glibc

/// The unit in which each channel is quantised: large where errors cost little.
enum ChannelUnits {
  /// A channel of less than this share of its plane's spread is dead: it does not count.
  private static let liveShareMin: Float = 1e-3

  /// Scales units, `[plane][channel]`, so that steps are told in spreads, whatever the model.
  ///
  /// Over all live channels of all planes the geometric mean of spread over unit becomes 1. Spreads
  /// are those about the means of segments, since codecs send such means apart.
  static func normalised(_ units: [[Float]], spreads: [[Float]]) -> [[Float]] {
    var sum = 0.0
    var count = 0
    for (unit, spread) in zip(units, spreads) {
      let least = RunReference.rootMeanSquare(spread[...]) * liveShareMin
      for (unit, spread) in zip(unit, spread) where spread > max(least, .leastNormalMagnitude) {
        sum += log(Double(spread)) - log(Double(unit))
        count += 1
      }
    }
    let factor = Float(count > 0 ? exp(sum / Double(count)) : 1)
    return units.map { $0.map { clamped($0 * factor) } }
  }

  /// Without a calibration: the spread of the whole plane, for all its channels.
  static func uncalibrated(spreads: [Float]) -> [Float] {
    let spread = RunReference.rootMeanSquare(spreads[...])
    return [Float](repeating: clamped(spread), count: spreads.count)
  }

  /// By importance: an error of one unit costs the same in every channel.
  static func calibrated(importance: ArraySlice<Float>) -> [Float] {
    importance.map { clamped(1 / $0) }
  }

  /// Within the bounds of a profile, for a unit as well as for the scale made of it.
  private static func clamped(_ unit: Float) -> Float { min(max(unit, 0x1p-24), 0x1p24) }
}
