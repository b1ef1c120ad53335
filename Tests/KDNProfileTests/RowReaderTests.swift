import Glibc
import KDNCodec
import KDNCore
import Testing

@testable import KDNProfile

@Suite struct RowReaderTests {
  private static let firstToken: UInt64 = 100_000

  private func rows(
    _ layout: Layout, _ bytes: [UInt8], tokens: Int, firstToken: UInt64 = Self.firstToken,
    plane index: Int = 0
  ) throws -> [Float] {
    let part = try #require(LayoutGeometry(layout).whole)
    let planes = try PlanePlace.all(of: part, layout).planes
    var reader = RowReader(layout.elementType, planes)
    reader.turn(to: firstToken, tokenCount: tokens)
    let run = PlaneRun(planes: [planes[index]], wantsBasis: false)
    var rows = [Float](repeating: 0, count: tokens * run.channelCount)
    let chunk = KVChunk(bytes: bytes, firstToken: firstToken, tokenCount: tokens)
    reader.read(run, of: chunk, tokens: 0..<tokens, into: &rows)
    return rows
  }

  @Test(arguments: [RoPE.Pairing.neox, .interleaved])
  func keysAreTurnedBackAndDimensionsThatDoNotTurnStay(_ pairing: RoPE.Pairing) throws {
    let (heads, dim, rotary, tokens) = (2, 6, 4, 3)
    let rope = RoPE(theta: 10_000, pairing: pairing, rotaryDims: UInt16(rotary))
    let layout = try Layout(
      elementType: .f32,
      groups: [
        LayoutGroup(kind: .attention(kvHeads: 2, headDim: 6), layers: [5], rope: rope)
      ])
    var numbers = Numbers(seed: 11)
    let plain = (0..<tokens * heads * dim).map { _ in numbers.normal() }
    // Turned as the definition says, in [head][token][dim].
    var turned = [Float](repeating: 0, count: tokens * heads * dim)
    for head in 0..<heads {
      for token in 0..<tokens {
        func source(_ element: Int) -> Double {
          Double(plain[token * heads * dim + head * dim + element])
        }
        let start = (head * tokens + token) * dim
        for element in rotary..<dim { turned[start + element] = Float(source(element)) }
        for pair in 0..<rotary / 2 {
          let (left, right) = pairing == .neox ? (pair, pair + 2) : (2 * pair, 2 * pair + 1)
          let angle =
            Double(Self.firstToken + UInt64(token))
            * pow(10_000, -Double(2 * pair) / Double(rotary))
          turned[start + left] = Float(source(left) * cos(angle) - source(right) * sin(angle))
          turned[start + right] = Float(source(right) * cos(angle) + source(left) * sin(angle))
        }
      }
    }
    let values = [Float](repeating: 9, count: turned.count)
    let found = try rows(layout, SyntheticKV.bytes(turned + values), tokens: tokens)
    for (left, right) in zip(found, plain) { #expect(abs(left - right) < 1e-5) }
    let second = try rows(layout, SyntheticKV.bytes(turned + values), tokens: tokens, plane: 1)
    #expect(second == values)
  }

  @Test func onlyTheRotaryPartOfALatentTurns() throws {
    let rope = RoPE(theta: 100, rotaryDims: 2)
    let layout = try Layout(
      elementType: .f32,
      groups: [LayoutGroup(kind: .latent(rank: 3, ropeDim: 2), layers: [0], rope: rope)])
    let found = try rows(layout, SyntheticKV.bytes([1, 2, 3, 4, 5]), tokens: 1, firstToken: 1)
    #expect(Array(found[..<3]) == [1, 2, 3])
    #expect(abs(found[3] - Float(4 * cos(1.0) + 5 * sin(1.0))) < 1e-6)
    #expect(abs(found[4] - Float(5 * cos(1.0) - 4 * sin(1.0))) < 1e-6)
  }

  @Test(arguments: [
    (ElementType.bf16, [UInt8](arrayLiteral: 0xC0, 0x3F, 0x00, 0xC0)),
    (.f16, [0x00, 0x3E, 0x00, 0xC0]), (.f32, [0, 0, 0xC0, 0x3F, 0, 0, 0, 0xC0]),
    (.f8e4m3, [0x3C, 0xC0]), (.f8e5m2, [0x3E, 0xC0]),
  ])
  func everyElementTypeIsRead(_ type: ElementType, _ pair: [UInt8]) throws {
    let layout = try Layout(
      elementType: type,
      groups: [LayoutGroup(kind: .attention(kvHeads: 1, headDim: 2), layers: [0])])
    #expect(try rows(layout, pair + pair, tokens: 1) == [1.5, -2])
  }

  @Test func subnormalsOfOneByteAreRead() {
    let small = ElementTable.values(of: .f8e4m3)
    #expect(small?[1] == 0x1p-9 && small?[0x7E] == 448 && small?[0x87] == -7 * 0x1p-9)
    #expect(small?[0x7F].isNaN == true)
    #expect(ElementTable.values(of: .i8)?[255] == -1)
  }

  @Test(arguments: [
    (ElementType.bf16, [UInt8](arrayLiteral: 0x80, 0x7F)), (.bf16, [0xC0, 0xFF]),
    (.f16, [0x00, 0x7C]), (.f32, [0, 0, 0x80, 0xFF]), (.f8e4m3, [0xFF]), (.f8e5m2, [0x7C]),
  ])
  func numbersThatAreNotFiniteAreFound(_ type: ElementType, _ element: [UInt8]) {
    let zeros = [UInt8](repeating: 0, count: element.count)
    #expect(!FiniteCheck.holds(zeros + element + zeros, from: 0, count: 3, type))
    #expect(FiniteCheck.holds(zeros + element + zeros, from: 0, count: 1, type))
  }
}
