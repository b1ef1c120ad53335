import KDNCodec
import KDNCore
import Testing

@Suite("Streams decoded together")
struct KernelTogetherTests {
  typealias CodedMatrix = NativeKernels.CodedMatrix

  let frequencies = NativeKernels.classFrequencies

  private func coded(_ matrix: KernelMatrix, tokens: Int) throws -> CodedMatrix {
    let stream = try NativeKernels.encode(
      .scalar, matrix.q, classes: matrix.classes, frequencies: frequencies, tokens: tokens)
    return CodedMatrix(stream, classes: matrix.classes)
  }

  @Test("give each what it gives alone, of any widths and kinds", arguments: KernelPath.runnable)
  func decoding(path: KernelPath) throws {
    var random = KernelRandom(seed: 31)
    let widths = [1, 31, 32, 33, 70, 192]
    for round in 0..<90 {
      let tokens = [1, 2, 9, 40, 256][round % 5]
      let matrices = (0...round % 3).map { index in
        KernelMatrix(
          KernelMatrix.Kind.allCases[(round + index) % 5], count: widths[(round / 3 + index) % 6],
          tokens: tokens, random: &random)
      }
      let found = try NativeKernels.decode(
        path, together: matrices.map { try coded($0, tokens: tokens) }, frequencies: frequencies,
        tokens: tokens)
      #expect(found == matrices.map(\.q))
    }
  }

  @Test("are refused one by one: a damaged one leaves the others", arguments: KernelPath.runnable)
  func damage(path: KernelPath) throws {
    let tables = try KernelTwin.tables(frequencies)
    var random = KernelRandom(seed: 32)
    for round in 0..<150 {
      let tokens = 1 + round % 40
      let matrices = (0..<3).map { index in
        KernelMatrix(
          KernelMatrix.Kind.allCases[(round + index) % 4], count: 20 + 30 * index, tokens: tokens,
          random: &random)
      }
      var together = try matrices.map { try coded($0, tokens: tokens) }
      let hit = round % 3
      switch round % 4 {
      case 0: together[hit].stream.bytes.removeLast(2)
      case 1: together[hit].stream.bytes += [0, 0]
      case 2: together[hit].stream.bytes = random.bytes(together[hit].stream.bytes.count)
      default:
        if !together[hit].stream.escapes.isEmpty { together[hit].stream.escapes.removeLast(2) }
      }
      let found = try NativeKernels.decode(
        path, together: together, frequencies: frequencies, tokens: tokens)
      for index in 0..<3 {
        let wanted = try? KernelTwin.decode(
          together[index].stream, classes: together[index].classes, tables: tables, tokens: tokens)
        #expect(found[index] == wanted)
        if index != hit { #expect(found[index] == matrices[index].q) }
      }
    }
  }

  @Test("none or too many are refused")
  func limits() throws {
    var random = KernelRandom(seed: 33)
    let one = try coded(
      KernelMatrix(.usual, count: 3, tokens: 2, random: &random), tokens: 2)
    for count in [0, 4] {
      #expect(throws: KernelFault.badArgument) {
        try NativeKernels.decode(
          .automatic, together: Array(repeating: one, count: count), frequencies: frequencies,
          tokens: 2)
      }
    }
  }
}
