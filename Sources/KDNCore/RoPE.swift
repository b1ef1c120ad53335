/// How keys carry positions: rotary embedding facts, enough to rotate them to other positions.
///
/// Source: Su et al., "RoFormer" (arXiv 2104.09864); scalings as in transformers'
/// `modeling_rope_utils`.
package struct RoPE: Hashable, Sendable {
  /// How frequencies are stretched for long contexts; numbers as in the canonical encoding.
  package enum Scaling: UInt8, Sendable, CaseIterable {
    case none = 0
    case linear = 1
    case dynamic = 2
    case yarn = 3
    case llama3 = 4
    case longrope = 5
  }

  /// Which dimensions turn together.
  package enum Pairing: UInt8, Sendable {
    /// Dimension i with i + rotaryDims / 2.
    case neox = 0
    /// Dimension 2i with 2i + 1.
    case interleaved = 1
  }

  /// Whether stored keys are already rotated.
  package enum StoredKeys: UInt8, Sendable {
    case beforeRotation = 0
    case afterRotation = 1
  }

  /// The base of the frequencies.
  package let theta: Double
  /// The scaling kind.
  package let scaling: Scaling
  /// The pairing of dimensions.
  package let pairing: Pairing
  /// Whether stored keys are rotated.
  package let keys: StoredKeys
  /// How many leading dimensions of a head turn; even.
  package let rotaryDims: UInt16
  /// Numbers of the scaling, in the order that `Formats` gives.
  package let factors: [Double]

  /// Most factors.
  package static let factorCountMax = 4096

  /// Creates the facts; `Layout.init` checks them.
  package init(
    theta: Double, scaling: Scaling = .none, pairing: Pairing = .neox,
    keys: StoredKeys = .afterRotation, rotaryDims: UInt16, factors: [Double] = []
  ) {
    self.theta = theta
    self.scaling = scaling
    self.pairing = pairing
    self.keys = keys
    self.rotaryDims = rotaryDims
    self.factors = factors
  }

  /// How many factors the scaling takes.
  package var factorCountExpected: Int {
    switch scaling {
    case .none: 0
    case .linear: 1
    case .dynamic: 2
    case .yarn: 5
    case .llama3: 4
    case .longrope: 3 + Int(rotaryDims)
    }
  }

  func check(dimsMax: Int) throws(FieldFault) {
    guard theta.isFinite, theta > 0 else {
      throw FieldFault("theta", value: theta.bitPattern, limit: 0, "must be finite and positive")
    }
    guard rotaryDims >= 2, rotaryDims % 2 == 0, Int(rotaryDims) <= dimsMax else {
      throw FieldFault(
        "rotaryDims", value: Int(rotaryDims), limit: dimsMax, "must be even, 2 or more")
    }
    guard factors.count == factorCountExpected, factors.count <= Self.factorCountMax else {
      throw FieldFault(
        "factorCount", value: factors.count, limit: factorCountExpected,
        "does not fit the scaling")
    }
    for factor in factors where !factor.isFinite {
      throw FieldFault("factor", value: factor.bitPattern, limit: 0, "must be finite")
    }
  }
}
