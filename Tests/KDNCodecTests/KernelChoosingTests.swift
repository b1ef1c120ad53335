import KDNCodec
import KDNCore
import Testing

@Suite("Choosing classes and tables")
struct KernelChoosingTests {
  let frequencies = NativeKernels.classFrequencies

  /// Dense rows of channels with the given spreads; spread 0 gives a channel of zeros.
  private func rows(spreads: [Double], tokens: Int, seed: UInt64) -> [Int16] {
    var random = KernelRandom(seed: seed)
    let width = (spreads.count + 31) / 32 * 32
    return (0..<tokens).flatMap { _ in
      (0..<width).map { channel -> Int16 in
        guard channel < spreads.count else { return 0 }
        return Int16(max(-30_000, min(30_000, (random.normal() * spreads[channel]).rounded())))
      }
    }
  }

  private static let spreads: [Double] = (0..<70).map { channel in
    channel % 9 == 0 ? 0 : Double(sign: .plus, exponent: channel % 14 - 3, significand: 1.3)
  }

  @Test("own tables code every symbol of their channels, and more tables take fewer bits")
  func sharedTables() throws {
    let rows = rows(spreads: Self.spreads, tokens: 128, seed: 21)
    var sizes: [Int] = []
    for count in 1...4 {
      let tables = try NativeKernels.sharedTables(rows, channels: 70, tokens: 128, tables: count)
      #expect(tables.frequencies.count == count)
      #expect(tables.frequencies.allSatisfy { $0.reduce(0) { $0 + Int($1) } == 2048 })
      let coded = try NativeKernels.compact(rows, classes: tables.classes, tokens: 128)
      let stream = try NativeKernels.encode(
        .automatic, coded, classes: tables.classes, frequencies: tables.frequencies, tokens: 128)
      sizes.append(stream.bytes.count + stream.escapes.count)
      let decoded = try NativeKernels.decode(
        .automatic, stream, classes: tables.classes, frequencies: tables.frequencies, tokens: 128)
      #expect(decoded == coded)
    }
    #expect(sizes == sizes.sorted(by: >) && sizes[3] < sizes[0] * 9 / 10)
  }

  @Test("channels of zeros are not coded, others are")
  func zeros() throws {
    let rows = rows(spreads: Self.spreads, tokens: 64, seed: 22)
    let tables = try NativeKernels.sharedTables(rows, channels: 70, tokens: 64, tables: 4)
    let exactly = try NativeKernels.staticClasses(
      .automatic, rows, channels: 70, tokens: 64, exactly: true)
    for channel in 0..<70 {
      let isZero = (0..<64).allSatisfy { rows[$0 * 96 + channel] == 0 }
      #expect((tables.classes[channel] == 0) == isZero)
      #expect((exactly[channel] == 0) == isZero)
      for path in KernelPath.runnable {
        let estimated = try NativeKernels.staticClasses(
          path, rows, channels: 70, tokens: 64, exactly: false)
        #expect((estimated[channel] == 0) == isZero)
      }
    }
  }

  @Test("estimated classes take hardly more bits than the best", arguments: KernelPath.runnable)
  func estimates(path: KernelPath) throws {
    let spreads = (0..<64).map { 0.3 * Double(sign: .plus, exponent: $0 % 7, significand: 1) }
    let rows = rows(spreads: spreads, tokens: 256, seed: 23)
    var sizes: [Int] = []
    for exactly in [true, false] {
      let classes = try NativeKernels.staticClasses(
        path, rows, channels: 64, tokens: 256, exactly: exactly)
      let stream = try NativeKernels.encode(
        path, try NativeKernels.compact(rows, classes: classes, tokens: 256), classes: classes,
        frequencies: frequencies, tokens: 256)
      sizes.append(stream.bytes.count + stream.escapes.count)
    }
    #expect(Double(sizes[1]) < 1.01 * Double(sizes[0]))
    #expect(sizes[1] >= sizes[0] - 64)
  }
}
