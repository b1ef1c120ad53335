import KDNCore
import Testing

@testable import KDNCodec

@Suite("Exact objects")
struct ExactTests {
  @Test("give every byte back, of every type and number of tokens", arguments: ElementType.allCases)
  func roundTrip(_ type: ElementType) throws {
    let layout = try Samples.attention(type, layers: 2, heads: 3, dims: 24)
    for tokens in [1, 2, 7, 31, 32, 100, 256] {
      let facts = try Samples.facts(layout, tokens: tokens)
      let raw = try Samples.bytes(facts)
      let encoded = try Encoder(.exact).encode(raw, facts)
      #expect(try decoded(encoded.bytes) == raw)
      let header = try EncodedHeader(reading: encoded.bytes)
      let padding = 7 * (header.blocks.count - 1)
      #expect(encoded.bytes.count <= raw.count + encoded.headerByteCount + padding)
      #expect(encoded.decodedChecksum == Checksum(of: raw).value)
    }
  }

  @Test("are a third smaller where exponents are alike")
  func ratio() throws {
    let facts = try Samples.facts(
      try Samples.attention(layers: 2, heads: 4, dims: 64, rope: nil), tokens: 256)
    let raw = try Samples.bytes(facts)
    let encoded = try Encoder(.exact).encode(raw, facts)
    #expect(Double(raw.count) / Double(encoded.bytes.count) > 1.35)
    #expect(!encoded.tally.fellBack)
    #expect(encoded.tally.counts[.exact]?.blocks == 4)
  }

  @Test("code blocks of every type", arguments: ElementType.allCases)
  func coded(_ type: ElementType) throws {
    let facts = try Samples.facts(try Samples.attention(type, heads: 2, dims: 32), tokens: 128)
    let raw = try Samples.bytes(facts)
    let encoded = try Encoder(.exact).encode(raw, facts)
    #expect(encoded.tally.counts[.exact]?.blocks == 4)
    #expect(!encoded.tally.fellBack)
    #expect(encoded.bytes.count < raw.count)
  }

  @Test("keep any bits: noise, NaN, infinities, all zero", arguments: ElementType.allCases)
  func anyBits(_ type: ElementType) throws {
    let facts = try Samples.facts(try Samples.attention(type, layers: 1), tokens: 40)
    let count = try Samples.bytes(facts).count
    var dice = Dice(7)
    let noise = (0..<count).map { _ in UInt8(truncatingIfNeeded: dice.next() >> 32) }
    let special = (0..<count).map { [0xFF, 0x7F, 0x80, 0, 0x7C, 0xC0][$0 % 6] as UInt8 }
    for raw in [noise, special, [UInt8](repeating: 0, count: count)] {
      for codecClass in [CodecClass.exact, .high] {
        let encoded = try Encoder(codecClass).encode(raw, facts)
        #expect(encoded.bytes.count <= raw.count + encoded.headerByteCount)
        let back = try decoded(encoded.bytes)
        if codecClass == .exact { #expect(back == raw) }
      }
    }
  }

  @Test("of f32 that came from bf16 cost no more than those of bf16")
  func widened() throws {
    let narrow = try Samples.facts(try Samples.attention(.bf16, heads: 4, dims: 64), tokens: 128)
    let wide = try Samples.facts(try Samples.attention(.f32, heads: 4, dims: 64), tokens: 128)
    let raw = try Samples.bytes(narrow)
    let widened: [UInt8] = (0..<raw.count / 2).reduce(into: []) { bytes, index in
      bytes += [0, 0, raw[2 * index], raw[2 * index + 1]]
    }
    let a = try Encoder(.exact).encode(raw, narrow)
    let b = try Encoder(.exact).encode(widened, wide)
    #expect(try decoded(b.bytes) == widened)
    #expect(b.bytes.count <= a.bytes.count + 64)
  }

  @Test("keep what lies between the tokens that are counted for tables")
  func uncounted() throws {
    let facts = try Samples.facts(try Samples.attention(.bf16, heads: 2, dims: 32), tokens: 256)
    var raw = try Samples.bytes(facts)
    // Bytes of head 0 of the first plane, elements of 2 bytes: channel 3 is constant but at odd
    // tokens, channel 5 has exponents there that no counted token has.
    for token in 0..<256 {
      let row = token * 32 * 2
      raw.replaceSubrange(row + 6..<row + 8, with: [0x80, 0x3F])
      guard token % 2 == 1 else { continue }
      if token % 64 == 1 { raw.replaceSubrange(row + 6..<row + 8, with: [0x00, 0x41]) }
      raw.replaceSubrange(row + 10..<row + 12, with: [0xFF, UInt8(token / 2)])
    }
    let encoded = try Encoder(.exact).encode(raw, facts)
    #expect(!encoded.tally.fellBack)
    #expect(try decoded(encoded.bytes) == raw)
  }
}
