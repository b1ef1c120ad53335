import Foundation
import KDNCore
import Testing

@testable import KDNCodec

/// A scaling kind as models have it, and how far its keys can go.
private struct RotationCase: Sendable, CustomTestStringConvertible {
  let rope: RoPE
  let positions: Int

  var testDescription: String { "\(rope.scaling), \(rope.pairing), \(rope.rotaryDims) dims" }

  static let all: [RotationCase] = [RoPE.Pairing.neox, .interleaved].flatMap { pairing in
    [UInt16(64), 32].flatMap { dims in
      let long = [2.0, 4096, 1.19] + (0..<Int(dims)).map { 1 + Double($0) / 8 }
      let kinds: [(RoPE.Scaling, Double, [Double], Int)] = [
        (.none, 10_000, [], 1 << 20), (.linear, 10_000, [4], 1 << 20),
        (.dynamic, 10_000, [2, 8192], 8192),
        (.yarn, 1_000_000, [4, 32_768, 32, 1, 1], 1 << 17),
        (.llama3, 500_000, [8, 1, 4, 8192], 1 << 17), (.longrope, 10_000, long, 4096),
      ]
      return kinds.map { scaling, theta, factors, positions in
        RotationCase(
          rope: RoPE(
            theta: theta, scaling: scaling, pairing: pairing, rotaryDims: dims, factors: factors),
          positions: positions)
      }
    }
  }
}

/// SplitMix64, for values that can be had again.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

@Suite("Errors of rotation")
struct RotationErrorTests {
  private static let dims = 64
  private static let types: [ElementType] = [.bf16, .f16, .f32]

  /// The key at a position, in f64 from the facts' angles.
  private func rotated(_ key: [Double], _ rope: RoPE, to position: Int) -> [Double] {
    var turned = key
    for (i, j, frequency) in pairs(rope) {
      let angle = frequency * Double(position)
      turned[i] = key[i] * cos(angle) - key[j] * sin(angle)
      turned[j] = key[j] * cos(angle) + key[i] * sin(angle)
    }
    return turned
  }

  private func pairs(_ rope: RoPE) -> [(Int, Int, Double)] {
    let half = Int(rope.rotaryDims) / 2
    return rope.pairFrequencies.enumerated().map { pair, frequency in
      rope.pairing == .neox ? (pair, pair + half, frequency) : (2 * pair, 2 * pair + 1, frequency)
    }
  }

  private func elements(_ key: [Double], _ type: ElementType) -> [UInt32] {
    key.map { KernelTwin.round(Float($0), to: type) }
  }

  private func moved(
    _ row: [UInt32], _ type: ElementType, _ rope: RoPE, by distance: Int
  ) throws -> [UInt32] {
    let size = type.byteCount
    let bytes = row.flatMap { element in
      (0..<size).map { UInt8(truncatingIfNeeded: element >> UInt32(8 * $0)) }
    }
    var out = [UInt8](repeating: 0, count: bytes.count)
    var span = out.mutableSpan
    var target = span.mutableBytes
    try RowMove.move(
      bytes.span.bytes, into: &target, dims: Self.dims, type: type,
      rotation: try KeyRotation(rope, distance: distance), scale: 1)
    return (0..<row.count).map { index in
      (0..<size).reduce(UInt32(0)) { $0 | UInt32(out[size * index + $1]) << UInt32(8 * $1) }
    }
  }

  /// The distance of two floats of this magnitude.
  private func ulp(_ type: ElementType, at magnitude: Double) -> Double {
    let bits = [ElementType.bf16: 7, .f16: 10, .f32: 23][type] ?? 0
    return exp2((log2(magnitude)).rounded(.down) - Double(bits))
  }

  /// The largest difference of two rows in ulp of their pair's magnitude, `key`'s.
  private func error(
    _ found: [UInt32], _ wanted: [UInt32], _ key: [Double], _ type: ElementType, _ rope: RoPE
  ) -> Double {
    var most = 0.0
    for (i, j, _) in pairs(rope) {
      let unit = ulp(type, at: hypot(key[i], key[j]))
      for index in [i, j] {
        let difference =
          Double(KernelTwin.value(of: found[index], as: type))
          - Double(KernelTwin.value(of: wanted[index], as: type))
        most = max(most, abs(difference) / unit)
      }
    }
    return most
  }

  @Test(
    "a moved key is within 2 ulp of its pair of the key computed at the new position",
    arguments: RotationCase.all, types)
  private func recomputed(_ row: RotationCase, _ type: ElementType) throws {
    var random = SplitMix(state: UInt64(row.rope.rotaryDims) + UInt64(row.positions))
    var most = 0.0
    for _ in 0..<200 {
      let key = (0..<Self.dims).map { _ in Double.random(in: -8...8, using: &random) }
      let distance = Int.random(in: 1..<row.positions, using: &random)
      let own = Int.random(in: 0..<min(4096, row.positions - distance + 1), using: &random)
      let stored = elements(rotated(key, row.rope, to: own), type)
      let wanted = elements(rotated(key, row.rope, to: own + distance), type)
      let found = try moved(stored, type, row.rope, by: distance)
      most = max(most, error(found, wanted, key, type, row.rope))
      let still = Int(row.rope.rotaryDims)..<Self.dims
      #expect(found[still] == stored[still], "dimensions that do not turn stay")
    }
    // f32 adds the roundings of its own arithmetic to those of storage.
    #expect(most <= (type == .f32 ? 4 : 2), "\(most) ulp")
    #expect(most > 0, "keys that moved were rounded")
  }

  @Test("two moves are one of both distances, within their roundings", arguments: RotationCase.all)
  private func composed(_ row: RotationCase) throws {
    var random = SplitMix(state: 7)
    for _ in 0..<100 {
      let key = (0..<Self.dims).map { _ in Double.random(in: -8...8, using: &random) }
      let one = Int.random(in: 1..<row.positions / 2, using: &random)
      let two = Int.random(in: 1..<row.positions / 2, using: &random)
      let stored = elements(key, .f32)
      let both = try moved(moved(stored, .f32, row.rope, by: one), .f32, row.rope, by: two)
      let sum = try moved(stored, .f32, row.rope, by: one + two)
      #expect(error(both, sum, key, .f32, row.rope) <= 8)
    }
  }
}
