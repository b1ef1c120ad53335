import KDNCodec
import KDNCore
import Testing

/// Numbers that are the same in each run: xorshift64*.
struct KernelRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 0x2545_f491_4f6c_dd1d
  }

  /// About normal, spread 1.
  mutating func normal() -> Double {
    (0..<12).reduce(-6.0) { sum, _ in sum + Double.random(in: 0..<1, using: &self) }
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
  }
}

/// A shape of plane and what is awkward about it.
struct KernelCase: Sendable, CustomTestStringConvertible {
  let heads: Int
  let dims: Int
  let tokens: Int
  var headTokens: Int?
  var type: ElementType = .bf16
  var rotated: Range<Int> = 0..<0
  var isInterleaved = false

  var testDescription: String {
    let pairs = isInterleaved ? " in pairs" : ""
    return "\(type) \(heads)x\(dims), \(tokens) tokens, turned \(rotated)\(pairs)"
  }

  static let all: [KernelCase] = [
    KernelCase(heads: 1, dims: 1, tokens: 1),
    KernelCase(heads: 1, dims: 1, tokens: 70),
    KernelCase(heads: 3, dims: 11, tokens: 17, type: .f16, rotated: 1..<11),
    KernelCase(heads: 1, dims: 33, tokens: 9, type: .f32, rotated: 0..<32, isInterleaved: true),
    KernelCase(heads: 7, dims: 5, tokens: 12, headTokens: 16, type: .f8e4m3, rotated: 1..<5),
    KernelCase(heads: 2, dims: 5, tokens: 1, type: .f8e5m2, rotated: 0..<4, isInterleaved: true),
    KernelCase(heads: 2, dims: 16, tokens: 6, headTokens: 7, type: .i8),
    KernelCase(heads: 3, dims: 64, tokens: 40, rotated: 0..<64),
    KernelCase(heads: 2, dims: 72, tokens: 13, type: .f16, rotated: 8..<72, isInterleaved: true),
    KernelCase(heads: 1, dims: 40, tokens: 256, type: .f8e4m3),
    KernelCase(heads: 1, dims: 8, tokens: 4096, rotated: 0..<8),
  ]

  var window: KernelWindow {
    get throws {
      var window = KernelWindow(
        type: type, heads: heads, dims: dims, tokens: tokens, headTokens: headTokens)
      guard !rotated.isEmpty else { return window }
      let pairs = rotated.count / 2
      let frequencies = (0..<pairs).map { 1 / Double(1 + 37 * $0) }
      let table = try NativeKernels.rotation(
        frequencies: frequencies, firstToken: 123_456, tokens: tokens)
      window.rotation = KernelRotation(
        firstDim: rotated.lowerBound, dims: rotated.count, isInterleaved: isInterleaved,
        cosines: table.cosines, sines: table.sines)
      return window
    }
  }
}

/// A coded matrix: classes, and symbols of the coded coefficients in rows padded to 32.
struct KernelMatrix {
  let classes: [UInt8]
  let q: [Int16]

  /// What the values are like.
  enum Kind: CaseIterable {
    case quiet, usual, wide, escapesEverywhere, allZero
  }

  init(_ kind: Kind, count: Int, tokens: Int, random: inout KernelRandom) {
    var classes: [UInt8] = []
    for _ in 0..<count {
      let cls: UInt8 =
        switch kind {
        case .quiet: .random(in: 1...16, using: &random)
        case .usual:
          Int.random(in: 0...5, using: &random) == 0 ? 0 : .random(in: 20...35, using: &random)
        case .wide: .random(in: 36...69, using: &random)
        case .escapesEverywhere: .random(in: 1...69, using: &random)
        case .allZero: 0
        }
      classes.append(cls)
    }
    let coded = classes.filter { $0 != 0 }
    let width = (coded.count + 31) / 32 * 32
    var q = [Int16](repeating: 0, count: width * tokens)
    for token in 0..<tokens {
      for (index, cls) in coded.enumerated() {
        let spread = Double(sign: .plus, exponent: (Int(cls) - 25) / 4, significand: 1)
        let value = (random.normal() * spread).rounded()
        q[token * width + index] =
          kind == .escapesEverywhere
          ? .random(in: .min ... .max, using: &random) : Int16(max(-32768, min(32767, value)))
      }
    }
    self.classes = classes
    self.q = q
  }
}

extension KernelPath {
  /// What this processor can run, one by one.
  static var runnable: [KernelPath] { [.scalar, .avx2, .avx512].filter(\.isAvailable) }
}

extension KernelTwin {
  /// The tables of the static classes.
  static func tables(_ frequencies: [[UInt16]]) throws -> [Table] {
    try frequencies.map { try Table(frequencies: $0) }
  }
}
