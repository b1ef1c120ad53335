import KDNCore
import Testing

@testable import KDNCodec

struct RowMoveTests {
  private static let ropes: [RoPE?] = [
    nil,
    RoPE(theta: 10_000, rotaryDims: 12),
    RoPE(theta: 500_000, pairing: .interleaved, rotaryDims: 8),
    RoPE(theta: 10_000, keys: .beforeRotation, rotaryDims: 12),
  ]

  /// Elements of every size and sign, as their bits.
  private func elements(_ count: Int, _ type: ElementType) -> [UInt32] {
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let value = Float(Int32(truncatingIfNeeded: state >> 32)) / 0x1p29
      return KernelTwin.round(type == .i8 ? value * 30 : value, to: type)
    }
  }

  private func bytes(_ elements: [UInt32], _ type: ElementType) -> [UInt8] {
    elements.flatMap { element in
      (0..<type.byteCount).map { UInt8(truncatingIfNeeded: element >> UInt32(8 * $0)) }
    }
  }

  private func move(
    _ rows: [UInt8], dims: Int, type: ElementType, _ rotation: KeyRotation, scale: Float,
    path: KernelPath
  ) throws -> [UInt8] {
    var moved = [UInt8](repeating: 0xAA, count: rows.count)
    try moved.withUnsafeMutableBytes { buffer in
      var target = buffer.mutableBytes
      try RowMove.move(
        rows.span.bytes, into: &target, dims: dims, type: type, rotation: rotation, scale: scale,
        path: path)
    }
    return moved
  }

  @Test(arguments: ElementType.allCases, KernelPath.allCases.filter(\.isAvailable))
  func everyPathMovesAsTheTwinDoes(type: ElementType, path: KernelPath) throws {
    let (dims, count) = (20, 7)
    let rows = elements(dims * count, type)
    for rope in Self.ropes {
      for distance in [0, 1, 257, 1 << 20] {
        let rotation = try KeyRotation(rope, distance: distance)
        for scale: Float in [1, 1.5, -0.25] {
          let expected = stride(from: 0, to: rows.count, by: dims).flatMap { start in
            KernelTwin.moved(
              Array(rows[start..<start + dims]), type: type, rotation: rotation, scale: scale)
          }
          let moved = try move(
            bytes(rows, type), dims: dims, type: type, rotation, scale: scale, path: path)
          #expect(moved == bytes(expected, type), "\(distance), \(scale)")
        }
      }
    }
  }

  @Test func keysTurnByTheDistanceAndValuesOfOtherDimensionsStay() throws {
    let rope = RoPE(theta: 100, rotaryDims: 4)
    let rotation = try KeyRotation(rope, distance: 3)
    let row: [Float] = [1, 2, 3, 4, 5, 6]
    let moved = try move(
      bytes(row.map(\.bitPattern), .f32), dims: 6, type: .f32, rotation, scale: 1,
      path: .automatic)
    let angles = [3.0, 0.3]
    for (pair, angle) in angles.enumerated() {
      let (a, b) = (Double(row[pair]), Double(row[pair + 2]))
      let (first, second) = (value(moved, pair), value(moved, pair + 2))
      #expect(abs(first - (a * cosine(angle) - b * sine(angle))) < 1e-5)
      #expect(abs(second - (b * cosine(angle) + a * sine(angle))) < 1e-5)
    }
    #expect(value(moved, 4) == 5 && value(moved, 5) == 6)
  }

  private func value(_ bytes: [UInt8], _ index: Int) -> Double {
    let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[4 * index + $1]) << UInt32(8 * $1) }
    return Double(Float(bitPattern: bits))
  }

  /// The series itself: the tests' own arithmetic.
  private func sine(_ x: Double) -> Double {
    var (term, sum) = (x, x)
    for n in 1...20 {
      term *= -x * x / Double(2 * n * (2 * n + 1))
      sum += term
    }
    return sum
  }

  private func cosine(_ x: Double) -> Double {
    var (term, sum) = (1.0, 1.0)
    for n in 1...20 {
      term *= -x * x / Double((2 * n - 1) * 2 * n)
      sum += term
    }
    return sum
  }

  @Test func nothingTurnsWhereNothingMovesAndBytesStayAsTheyAre() throws {
    // A NaN of a strange payload, and minus zero.
    let rows: [UInt8] = [0x01, 0x7f, 0x00, 0x80]
    let rotation = try KeyRotation(RoPE(theta: 10_000, rotaryDims: 2), distance: 0)
    #expect(rotation.isIdle)
    #expect(
      try move(rows, dims: 2, type: .bf16, rotation, scale: 1, path: .automatic) == rows)
  }

  @Test func shapesThatDoNotAgreeAreRefused() throws {
    let rotation = try KeyRotation(RoPE(theta: 10_000, rotaryDims: 8), distance: 1)
    for (count, dims) in [(9, 4), (8, 2)] {
      #expect(throws: KernelFault.badArgument) {
        _ = try move(
          [UInt8](repeating: 0, count: count), dims: dims, type: .f16, rotation, scale: 1,
          path: .automatic)
      }
    }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 1)
    defer { room.deallocate() }
    #expect(throws: KernelFault.badArgument) {
      var target = room.mutableBytes
      try RowMove.move(
        [UInt8](repeating: 0, count: 16).span.bytes, into: &target, dims: 4, type: .f16,
        rotation: .idle, scale: 1)
    }
  }

  @Test func anAngleBeyondTheTableIsRefused() {
    let rope = RoPE(theta: 1e-300, rotaryDims: 4)
    #expect(throws: FieldFault.self) { try KeyRotation(rope, distance: 1000) }
  }
}
