import KDNCore

@testable import KDNCodec

/// Numbers that are the same each time.
struct Dice {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_F491_4F6C_DD1D
  }

  mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// About normal.
  mutating func normal() -> Double { 2 * (unit() + unit() + unit()) - 3 }
}

/// Layouts, and KV that looks like a model's: channels have means and spreads of their own.
enum Samples {
  static func attention(
    _ type: ElementType = .bf16, layers: Int = 2, heads: Int = 2, dims: Int = 16,
    rope: RoPE? = RoPE(theta: 10000, rotaryDims: 16)
  ) throws -> Layout {
    try Layout(
      elementType: type,
      groups: [
        LayoutGroup(
          kind: .attention(kvHeads: UInt16(heads), headDim: UInt16(dims)),
          layers: (0..<layers).map(UInt16.init), rope: rope)
      ])
  }

  static func whole(_ layout: Layout) throws -> Part {
    guard let part = LayoutGeometry(layout).whole else { throw Missing() }
    return part
  }

  struct Missing: Error {}

  static func facts(
    _ layout: Layout, tokens: Int, first: UInt64 = 0, part: Part? = nil
  ) throws -> EncodingFacts {
    EncodingFacts(
      layout: layout, part: try part ?? whole(layout), firstToken: first, tokenCount: tokens)
  }

  /// Bytes of an object: values of each channel vary about a mean, keys are rotated as the layout
  /// says.
  static func bytes(_ facts: EncodingFacts, seed: UInt64 = 1) throws -> [UInt8] {
    guard let layout = facts.layout else { throw Missing() }
    let shape = try PartShape(layout: layout, part: facts.part, tokenCount: facts.tokenCount)
    var dice = Dice(seed)
    var bytes: [UInt8] = []
    for plane in shape.planes {
      if plane.isOpaque {
        bytes += (0..<plane.byteCount).map { UInt8(truncatingIfNeeded: $0 / 7) }
        continue
      }
      for value in values(of: plane, facts, shape, &dice) {
        bytes += encoded(value, layout.elementType)
      }
    }
    return bytes
  }

  private static func values(
    of plane: PlaneShape, _ facts: EncodingFacts, _ shape: PartShape, _ dice: inout Dice
  ) -> [Double] {
    let tokens = facts.tokenCount
    let common = (0..<tokens).map { _ in dice.normal() }
    let group = facts.layout?.groups[plane.groupIndex]
    let frequencies = plane.rotation == nil ? [] : group?.rope?.pairFrequencies ?? []
    var values = [Double](repeating: 0, count: plane.channels * tokens)
    for head in 0..<plane.heads {
      var rows: [[Double]] = []
      for dim in 0..<plane.dims {
        let mean = Double(dim % 5) * 0.5 - 1
        let spread = 0.25 + Double((dim * 7 + head) % 8) * 0.125
        rows.append((0..<tokens).map { mean + spread * (0.5 * common[$0] + 0.7 * dice.normal()) })
      }
      if let rotation = plane.rotation {
        rotate(&rows, rotation, frequencies, first: facts.firstToken)
      }
      for dim in 0..<plane.dims {
        for token in 0..<tokens {
          values[(head * tokens + token) * plane.dims + dim] = rows[dim][token]
        }
      }
    }
    return values
  }

  private static func rotate(
    _ rows: inout [[Double]], _ rotation: PlaneRotation, _ frequencies: [Double], first: UInt64
  ) {
    for pair in 0..<rotation.dims / 2 {
      let a = rotation.firstDim + (rotation.pairing == .neox ? pair : 2 * pair)
      let b = rotation.pairing == .neox ? a + rotation.dims / 2 : a + 1
      for token in rows[a].indices {
        let angle = Double(first + UInt64(token)) * frequencies[pair]
        let (x, y) = (rows[a][token], rows[b][token])
        rows[a][token] = x * Sine.cosine(angle) - y * Sine.sine(angle)
        rows[b][token] = y * Sine.cosine(angle) + x * Sine.sine(angle)
      }
    }
  }

  /// The bytes of a value in a type, cut rather than rounded.
  static func encoded(_ value: Double, _ type: ElementType) -> [UInt8] {
    let single = Float(value).bitPattern
    switch type {
    case .f32: return (0..<4).map { UInt8(truncatingIfNeeded: single >> (8 * $0)) }
    case .bf16: return [UInt8(truncatingIfNeeded: single >> 16), UInt8(single >> 24)]
    case .f16:
      let bits = Float16(value).bitPattern
      return [UInt8(truncatingIfNeeded: bits), UInt8(bits >> 8)]
    case .f8e5m2: return [UInt8(Float16(value).bitPattern >> 8)]
    case .f8e4m3:
      let half = Float16(value).bitPattern
      let exponent = Int(half >> 10 & 31) - 8
      guard exponent > 0 else { return [UInt8(half >> 8 & 0x80)] }
      return [UInt8(half >> 8 & 0x80) | UInt8(min(exponent, 14) << 3) | UInt8(half >> 7 & 7)]
    case .i8: return [UInt8(bitPattern: Int8(max(-127, min(127, value * 30))))]
    }
  }

  /// Values of bytes of a type.
  static func decoded(_ bytes: [UInt8], _ type: ElementType) -> [Double] {
    let size = type.byteCount
    return stride(from: 0, to: bytes.count, by: size).map { start in
      let bits = (0..<size).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << (8 * $1) }
      switch type {
      case .f32: return Double(Float(bitPattern: bits))
      case .bf16: return Double(Float(bitPattern: bits << 16))
      case .f16: return Double(Float16(bitPattern: UInt16(bits)))
      case .f8e5m2: return Double(Float16(bitPattern: UInt16(bits) << 8))
      case .f8e4m3:
        let magnitude = bits & 127
        let scale = Double(sign: .plus, exponent: max(1, Int(magnitude >> 3)) - 10, significand: 1)
        let digits = magnitude >> 3 == 0 ? magnitude : 8 + (magnitude & 7)
        return (bits & 128 == 0 ? 1 : -1) * Double(digits) * scale
      case .i8: return Double(Int8(bitPattern: UInt8(bits)))
      }
    }
  }
}

/// Sine and cosine from the standard library's own arithmetic, exact enough for samples.
enum Sine {
  static func sine(_ angle: Double) -> Double {
    let reduced = angle.remainder(dividingBy: 2 * .pi)
    var term = reduced
    var sum = reduced
    for n in 1..<20 {
      term *= -reduced * reduced / Double((2 * n) * (2 * n + 1))
      sum += term
    }
    return sum
  }

  static func cosine(_ angle: Double) -> Double { sine(angle + .pi / 2) }
}

/// Decodes an object, header and all.
func decoded(_ encoded: [UInt8], profile: Profile? = nil) throws(CodecFault) -> [UInt8] {
  try Decoder(try EncodedHeader(reading: encoded), profile: profile).decode(encoded, limit: 1 << 30)
}

extension Samples {
  /// Root of the mean square difference of each plane, in spreads of the plane's own values.
  static func distortion(
    _ raw: [UInt8], _ back: [UInt8], _ facts: EncodingFacts
  ) throws -> [Double] {
    guard let layout = facts.layout else { return [] }
    let shape = try PartShape(layout: layout, part: facts.part, tokenCount: facts.tokenCount)
    return shape.planes.map { plane in
      guard !plane.isOpaque else { return back[plane.range] == raw[plane.range] ? 0 : .infinity }
      let a = Samples.decoded(Array(raw[plane.range]), layout.elementType)
      let b = Samples.decoded(Array(back[plane.range]), layout.elementType)
      let mean = a.reduce(0, +) / Double(a.count)
      let variance = a.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(a.count)
      let error = zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(a.count)
      return (error / max(variance, 1e-30)).squareRoot()
    }
  }
}
