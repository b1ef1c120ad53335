internal import Glibc
package import KDNCore

extension RoPE {
  /// Radians per position of each rotated pair, within the original context.
  ///
  /// Encoders write them into the object, so decoders need no formula. Where facts give no finite
  /// number the pair counts as not rotated.
  ///
  /// Source: the papers' formulas as transformers' `modeling_rope_utils` has them.
  package var pairFrequencies: [Double] { unchecked.map { $0.isFinite ? $0 : 0 } }

  private var unchecked: [Double] {
    let dims = Double(rotaryDims)
    let base = (0..<Int(rotaryDims) / 2).map { pow(theta, -Double(2 * $0) / dims) }
    return switch scaling {
    case .none, .dynamic: base
    case .linear: base.map { $0 / factors[0] }
    case .llama3: base.map(llama3)
    case .yarn: yarn(base)
    case .longrope: base.enumerated().map { $1 / factors[3 + $0] }
    }
  }

  private func llama3(_ frequency: Double) -> Double {
    let (factor, low, high, original) = (factors[0], factors[1], factors[2], factors[3])
    let wavelength = 2 * Double.pi / frequency
    let smooth = min(max((original / wavelength - low) / (high - low), 0), 1)
    return (1 - smooth) * frequency / factor + smooth * frequency
  }

  private func yarn(_ base: [Double]) -> [Double] {
    let (factor, original, fast, slow) = (factors[0], factors[1], factors[2], factors[3])
    let dims = Double(rotaryDims)
    func dimension(_ rotations: Double) -> Double {
      dims * log(original / (rotations * 2 * .pi)) / (2 * log(theta))
    }
    let low = max(dimension(fast).rounded(.down), 0)
    let high = min(dimension(slow).rounded(.up), dims - 1)
    let width = high == low ? 0.001 : high - low  // as the source guards its division
    return base.enumerated().map { index, frequency in
      let ramp = min(max((Double(index) - low) / width, 0), 1)
      return frequency / factor * ramp + frequency * (1 - ramp)
    }
  }
}
