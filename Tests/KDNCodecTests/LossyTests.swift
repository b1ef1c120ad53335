import KDNCore
import Testing

@testable import KDNCodec

@Suite("High objects")
struct HighTests {
  @Test(
    "stay within a fraction of the step, of every float type",
    arguments: [ElementType.bf16, .f16, .f32, .f8e4m3, .f8e5m2])
  func roundTrip(_ type: ElementType) throws {
    for pairing in [RoPE.Pairing.neox, .interleaved] {
      let layout = try Samples.attention(
        type, heads: 2, dims: 32, rope: RoPE(theta: 10000, pairing: pairing, rotaryDims: 24))
      for (tokens, first) in [(64, 0), (256, 512), (100, 70001)] as [(Int, UInt64)] {
        let facts = try Samples.facts(layout, tokens: tokens, first: first)
        let raw = try Samples.bytes(facts)
        let encoded = try Encoder(.high).encode(raw, facts)
        let back = try decoded(encoded.bytes)
        let coarse = type == .f8e5m2 ? 0.15 : 0.09
        for error in try Samples.distortion(raw, back, facts) {
          #expect(error < coarse, "\(tokens)")
        }
        #expect(encoded.decodedChecksum == Checksum(of: back).value)
        #expect(encoded.tally.counts[.uniform]?.blocks == 4)
      }
    }
  }

  @Test("are a quarter of bf16")
  func ratio() throws {
    let facts = try Samples.facts(
      try Samples.attention(layers: 2, heads: 4, dims: 64, rope: RoPE(theta: 1e5, rotaryDims: 64)),
      tokens: 256)
    let raw = try Samples.bytes(facts)
    let encoded = try Encoder(.high).encode(raw, facts)
    #expect(Double(raw.count) / Double(encoded.bytes.count) > 3.5)
  }

  @Test("keep the first tokens of a text as they are")
  func rawTokens() throws {
    let layout = try Samples.attention(heads: 2, dims: 16)
    let facts = try Samples.facts(layout, tokens: 64)
    let raw = try Samples.bytes(facts)
    let back = try decoded(try Encoder(.high).encode(raw, facts).bytes)
    for plane in 0..<8 {
      let start = plane * 64 * 32
      #expect(back[start..<start + 4 * 32] == raw[start..<start + 4 * 32])
    }
    let header = try EncodedHeader(
      reading: try Encoder(.high).encode(raw, facts).bytes)
    #expect(header.blocks.allSatisfy { $0.rawTokens == 4 })
  }

  @Test("code planes with values that are not finite exactly")
  func notFinite() throws {
    let layout = try Samples.attention(heads: 4, dims: 32)
    let facts = try Samples.facts(layout, tokens: 64, first: 64)
    var raw = try Samples.bytes(facts)
    let shape = try PartShape(layout: layout, part: facts.part, tokenCount: 64)
    let plane = shape.planes[1]
    raw[plane.offset + 100] = 0x80
    raw[plane.offset + 101] = 0x7F
    let encoded = try Encoder(.high).encode(raw, facts)
    let back = try decoded(encoded.bytes)
    #expect(back[plane.range] == raw[plane.range])
    #expect(encoded.tally.fellBack)
    #expect(encoded.tally.counts[.exact]?.blocks == 1)
    #expect(encoded.tally.counts[.uniform]?.blocks == 3)
  }

  @Test("have channels that never change, and planes that are all zero")
  func dead() throws {
    let layout = try Samples.attention(layers: 1, heads: 2, dims: 32, rope: nil)
    let facts = try Samples.facts(layout, tokens: 64, first: 64)
    var raw = try Samples.bytes(facts)
    let half = raw.count / 2
    for token in 0..<64 { for byte in 0..<16 { raw[token * 64 + byte] = 0 } }
    for index in half..<raw.count { raw[index] = 0 }
    let encoded = try Encoder(.high).encode(raw, facts)
    let back = try decoded(encoded.bytes)
    #expect(back[half...] == raw[half...])
    for token in 0..<64 { #expect(back[token * 64..<token * 64 + 16].allSatisfy { $0 & 127 == 0 }) }
    let error = try Samples.distortion(raw, back, facts)[0]
    #expect(error < 0.09)
  }

  @Test("of keys before rotation, or without rotary facts, are not rotated")
  func unrotated() throws {
    for rope in [RoPE(theta: 10000, keys: .beforeRotation, rotaryDims: 16), nil] {
      let layout = try Samples.attention(heads: 4, dims: 32, rope: rope)
      let facts = try Samples.facts(layout, tokens: 64, first: 1000)
      let raw = try Samples.bytes(facts)
      let encoded = try Encoder(.high).encode(raw, facts)
      let header = try EncodedHeader(reading: encoded.bytes)
      #expect(header.frequencies.joined().isEmpty)
      let back = try decoded(encoded.bytes)
      for error in try Samples.distortion(raw, back, facts) { #expect(error < 0.09) }
    }
  }

  @Test("cost less when keys are rotated back first")
  func rotationPays() throws {
    let rope = RoPE(theta: 10000, rotaryDims: 64)
    let known = try Samples.attention(heads: 4, dims: 64, rope: rope)
    let unknown = try Samples.attention(heads: 4, dims: 64, rope: nil)
    let facts = try Samples.facts(known, tokens: 256, first: 4096)
    let raw = try Samples.bytes(facts)
    let a = try Encoder(.high).encode(raw, facts)
    let b = try Encoder(.high).encode(
      raw, try Samples.facts(unknown, tokens: 256, first: 4096))
    let (errorA, errorB) = (
      try Samples.distortion(raw, try decoded(a.bytes), facts)[0],
      try Samples.distortion(raw, try decoded(b.bytes), facts)[0]
    )
    #expect(errorA < errorB)
  }

  @Test("of angles beyond the tables are exact")
  func farAway() throws {
    let layout = try Samples.attention(heads: 4, dims: 32)
    let facts = try Samples.facts(layout, tokens: 64, first: (1 << 40) - 64)
    let raw = try Samples.bytes(try Samples.facts(layout, tokens: 64))
    let encoded = try Encoder(.high).encode(raw, facts)
    #expect(try decoded(encoded.bytes) == raw)
    #expect(encoded.tally.fellBack)
  }
}

@Suite("Objects of any layout")
struct LayoutTableTests {
  static let layouts: [@Sendable () throws -> Layout] = [
    { try Samples.attention(.bf16, layers: 1, heads: 1, dims: 1, rope: nil) },
    { try Samples.attention(.f32, layers: 3, heads: 1, dims: 512, rope: nil) },
    {
      try Layout(
        elementType: .bf16,
        groups: [
          LayoutGroup(
            kind: .latent(rank: 96, ropeDim: 32), layers: [0, 1],
            rope: RoPE(theta: 1e4, pairing: .interleaved, rotaryDims: 32)),
          LayoutGroup(kind: .latent(rank: 40, ropeDim: 0), layers: [2]),
        ])
    },
    {
      try Layout(
        elementType: .f16,
        groups: [
          LayoutGroup(
            kind: .attention(kvHeads: 2, headDim: 32), layers: [0, 2, 4], slidingWindow: 512,
            rope: RoPE(theta: 1e4, rotaryDims: 32)),
          LayoutGroup(
            kind: .attention(kvHeads: 2, headDim: 48), layers: [1, 5],
            rope: RoPE(theta: 1e6, scaling: .linear, rotaryDims: 24, factors: [4])),
          LayoutGroup(kind: .opaque(bytesPerToken: 333), layers: [3, 6]),
        ])
    },
  ]

  @Test("come back within their class, whatever the part", arguments: layouts.indices)
  func table(_ index: Int) throws {
    let layout = try Self.layouts[index]()
    let whole = try Samples.whole(layout)
    var parts = [whole]
    if whole.kvHeadCount > 1 {
      parts.append(
        Part(
          firstLayer: 1, layerCount: whole.layerCount - 1, firstKVHead: 1,
          kvHeadCount: whole.kvHeadCount - 1))
    }
    for part in parts {
      for tokens in [1, 3, 50] {
        let facts = try Samples.facts(layout, tokens: tokens, first: 33, part: part)
        let raw = try Samples.bytes(facts)
        for codecClass in [CodecClass.exact, .high] {
          let encoded = try Encoder(codecClass).encode(raw, facts)
          let back = try decoded(encoded.bytes)
          let header = try EncodedHeader(reading: encoded.bytes)
          let padding = 7 * (header.blocks.count - 1)
          #expect(encoded.bytes.count <= raw.count + encoded.headerByteCount + padding)
          if codecClass == .exact || tokens == 1 {
            #expect(back == raw)
          } else {
            for error in try Samples.distortion(raw, back, facts) {
              #expect(error < 0.12, "\(tokens) tokens")
            }
          }
        }
      }
    }
  }
}
