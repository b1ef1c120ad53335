import Foundation
import KDNCodec
import KDNCore
import Testing

@Suite("Element kernels")
struct KernelElementTests {
  /// Values around every rounding edge of every type, and some of all sizes.
  private static let edges: [Float] = {
    var values: [Float] = [
      0, -0.0, .infinity, -.infinity, .nan, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
      448, 464, 465, 480, 57344, 61439, 61440, 65504, 65519, 65520, 0.5, 1.5, 2.5, 127.5, -128.5,
    ]
    var random = KernelRandom(seed: 9)
    for exponent in -30...20 {
      for step in 0..<64 {
        let value = Float(sign: .plus, exponent: exponent, significand: 1 + Float(step) / 64)
        values += [value, -value, value.nextUp, value.nextDown]
      }
    }
    while values.count % 64 != 0 {
      values.append(Float(bitPattern: UInt32.random(in: 0 ... .max, using: &random)))
    }
    return values
  }()

  @Test("each path rounds as the twin does", arguments: ElementType.allCases)
  func rounding(type: ElementType) throws {
    let values = Self.edges
    let window = KernelWindow(type: type, heads: 1, dims: 64, tokens: values.count / 64)
    var wanted = [UInt8](repeating: 0, count: values.count * type.byteCount)
    KernelTwin.store(window, values, into: &wanted)
    for path in KernelPath.runnable {
      var found = [UInt8](repeating: 1, count: wanted.count)
      try NativeKernels.store(path, window, values, into: &found)
      #expect(found == wanted)
    }
  }

  @Test("each small element is the value that it rounds back to", arguments: ElementType.allCases)
  func values(type: ElementType) throws {
    let bits = type.byteCount == 1 ? Array(UInt32(0)...255) : Array(UInt32(0)...65535)
    for bits in bits where KernelTwin.value(of: bits, as: type).isFinite {
      #expect(KernelTwin.round(KernelTwin.value(of: bits, as: type), to: type) == bits)
    }
    let elements = bits.flatMap { bits in
      (0..<type.byteCount).map { UInt8(truncatingIfNeeded: bits >> UInt32(8 * $0)) }
    }
    let window = KernelWindow(type: type, heads: 1, dims: 128, tokens: bits.count / 128)
    let finite = bits.filter { KernelTwin.value(of: $0, as: type).isFinite }.count == bits.count
    for path in KernelPath.runnable {
      if finite {
        let wanted = KernelTwin.load(window, elements).map(\.bitPattern)
        #expect(try NativeKernels.load(path, window, elements).map(\.bitPattern) == wanted)
      } else {
        #expect(throws: KernelFault.outOfRange) {
          try NativeKernels.load(path, window, elements)
        }
      }
    }
  }

  @Test("rows turned back and turned again are within rounding of what they were")
  func turning() throws {
    for example in KernelCase.all where !example.rotated.isEmpty && example.type == .bf16 {
      let window = try example.window
      var random = KernelRandom(seed: 10)
      let rows = (0..<window.channels * window.tokens).map { _ in Float(random.normal()) }
      var elements = [UInt8](repeating: 0, count: window.span * 2)
      try NativeKernels.store(.automatic, window, rows, into: &elements)
      let back = KernelTwin.load(window, elements)
      for path in KernelPath.runnable {
        let loaded = try NativeKernels.load(path, window, elements)
        #expect(loaded.map(\.bitPattern) == back.map(\.bitPattern))
      }
      #expect(zip(rows, back).allSatisfy { abs($0 - $1) < 0.03 })
    }
  }

  @Test("angles' cosines and sines are the twin's, and right")
  func rotation() throws {
    let frequencies = (0..<64).map { pow(500_000, -Double($0) / 64) } + [0, 1e-9, -0.7]
    for firstToken in [0, 1, 4095, 131_072, 1_000_003, 1_073_741_823] as [UInt64] {
      let found = try NativeKernels.rotation(
        frequencies: frequencies, firstToken: firstToken, tokens: 5)
      let twin = try KernelTwin.rotation(
        frequencies: frequencies, firstToken: firstToken, tokens: 5)
      #expect(found.cosines.map(\.bitPattern) == twin.cosines.map(\.bitPattern))
      #expect(found.sines.map(\.bitPattern) == twin.sines.map(\.bitPattern))
      for index in found.cosines.indices {
        let token = Double(firstToken) + Double(index / frequencies.count)
        let angle = token * frequencies[index % frequencies.count]
        #expect(abs(Double(found.cosines[index]) - cos(angle)) < 1e-6)
        #expect(abs(Double(found.sines[index]) - sin(angle)) < 1e-6)
      }
    }
  }

  @Test("angles that are too large or not numbers are refused")
  func wildAngles() {
    for frequency in [Double.nan, .infinity, -.infinity, 1e300, 2_147_483_648] {
      #expect(throws: KernelFault.badArgument) {
        try NativeKernels.rotation(frequencies: [frequency], firstToken: 1, tokens: 1)
      }
    }
    #expect(throws: KernelFault.badArgument) {
      try NativeKernels.rotation(frequencies: [0], firstToken: .max, tokens: 1)
    }
  }
}
