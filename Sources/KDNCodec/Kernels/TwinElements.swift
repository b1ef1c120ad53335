package import KDNCore

/// The kernels in plain Swift, one value at a time.
///
/// What the C of `CKernels` must equal, bit for bit; tests hold the two against each other.
package enum KernelTwin {
  /// The bits of `x` as an element: nearest even; see `CKernels.h` for NaN and overflow.
  package static func round(_ x: Float, to type: ElementType) -> UInt32 {
    switch type {
    case .bf16: bf16(x)
    case .f16: x.isNaN ? 0x7e00 : UInt32(Float16(x).bitPattern)
    case .f32: x.isNaN ? 0x7fc0_0000 : x.bitPattern
    case .f8e4m3: small(x, mantissaBits: 3, bias: 7, largest: 0x7e)
    case .f8e5m2: small(x, mantissaBits: 2, bias: 15, largest: 0x7c)
    case .i8: i8(x)
    }
  }

  private static func bf16(_ x: Float) -> UInt32 {
    guard !x.isNaN else { return 0x7fc0 }
    let bits = x.bitPattern
    return (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16
  }

  private static func i8(_ x: Float) -> UInt32 {
    guard !x.isNaN else { return 0 }
    let rounded = min(max(x, -128), 127).rounded(.toNearestOrEven)
    return UInt32(UInt8(bitPattern: Int8(rounded)))
  }

  /// Counts units in the last place; from `largest` on all is `largest`.
  private static func small(
    _ x: Float, mantissaBits: Int, bias: Int, largest: UInt32
  ) -> UInt32 {
    guard !x.isNaN else { return 0x7f }
    let sign: UInt32 = x.sign == .minus ? 0x80 : 0
    let absolute = Double(x.magnitude)
    guard absolute < 65536 else { return sign | largest }
    guard absolute > 0 else { return sign }
    let exponent = max(absolute.exponent, .init(1 - bias))
    let unit = Double(sign: .plus, exponent: exponent - .init(mantissaBits), significand: 1)
    let units = UInt32((absolute / unit).rounded(.toNearestOrEven))
    let steps = UInt32(Int(exponent) + bias - 1) << UInt32(mantissaBits)
    return sign | min(steps + units, largest)
  }

  /// The value of an element.
  package static func value(of bits: UInt32, as type: ElementType) -> Float {
    switch type {
    case .bf16: Float(bitPattern: bits << 16)
    case .f16: half(bits)
    case .f32: Float(bitPattern: bits)
    case .f8e4m3: fine(bits)
    case .f8e5m2: half(bits << 8)
    case .i8: Float(Int8(truncatingIfNeeded: bits))
    }
  }

  private static func half(_ bits: UInt32) -> Float {
    // A NaN keeps its payload, as the C does.
    guard bits & 0x7fff > 0x7c00 else { return Float(Float16(bitPattern: UInt16(bits))) }
    return Float(bitPattern: (bits & 0x8000) << 16 | 0x7f80_0000 | (bits & 0x3ff) << 13)
  }

  private static func fine(_ bits: UInt32) -> Float {
    let sign: UInt32 = (bits & 0x80) << 24
    let absolute = bits & 0x7f
    if absolute == 0x7f { return Float(bitPattern: sign | 0x7fc0_0000) }
    let units = absolute < 8 ? absolute : absolute & 7 | 8
    let exponent = absolute < 8 ? -9 : Int(absolute >> 3) - 10
    let value = Float(sign: .plus, exponent: exponent, significand: Float(units))
    return Float(bitPattern: value.bitPattern | sign)
  }

  /// Cosines and sines of the angles of tokens, in the sequence that `CKernels.h` promises.
  ///
  /// - Throws: `badArgument` if an angle is not below 2^31 in size.
  package static func rotation(
    frequencies: [Double], firstToken: UInt64, tokens: Int
  ) throws(KernelFault) -> (cosines: [Float], sines: [Float]) {
    let last = Double(firstToken + UInt64(tokens))
    guard frequencies.allSatisfy({ abs($0 * last) < 0x1p31 }) else { throw .badArgument }
    var cosines: [Float] = []
    var sines: [Float] = []
    for token in 0..<tokens {
      let position = Double(firstToken + UInt64(token))
      for frequency in frequencies {
        let (cosine, sine) = turn(position * frequency)
        cosines.append(cosine)
        sines.append(sine)
      }
    }
    return (cosines, sines)
  }

  private static let sineTerms = [
    -0x1.5555555555549p-3, 0x1.111111110f8a6p-7, -0x1.a01a019c161d5p-13,
    0x1.71de357b1fe7dp-19, -0x1.ae5e68a2b9cebp-26, 0x1.5d93a5acfd57cp-33,
  ]
  private static let cosineTerms = [
    0x1.555555555554cp-5, -0x1.6c16c16c15177p-10, 0x1.a01a019cb159p-16,
    -0x1.27e4f809c52adp-22, 0x1.1ee9ebdb4b1c4p-29, -0x1.8fae9be8838d4p-37,
  ]

  private static func series(_ z: Double, _ terms: [Double]) -> Double {
    terms.reversed().dropFirst().reduce(terms[5]) { sum, term in term + z * sum }
  }

  private static func turn(_ angle: Double) -> (cosine: Float, sine: Float) {
    let n = (angle * 0x1.45f306dc9c883p-1 + 0x1.8p52) - 0x1.8p52
    let r =
      ((angle - n * 0x1.921fb544p0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69
    let z = r * r
    let sine = Float(r + (r * z) * series(z, sineTerms))
    let cosine = Float((1.0 - 0.5 * z) + (z * z) * series(z, cosineTerms))
    switch Int64(n) & 3 {
    case 0: return (cosine, sine)
    case 1: return (-sine, cosine)
    case 2: return (-cosine, -sine)
    default: return (sine, -cosine)
    }
  }
}
