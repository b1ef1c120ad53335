import KDNCore
import Testing

@testable import KDNCodec

@Suite("Decoding by layers")
struct StreamingTests {
  @Test("gives what decoding the whole gives, from no more than the blocks of the layers")
  func byLayer() throws {
    let layout = try LayoutTableTests.layouts[3]()
    let facts = try Samples.facts(
      layout, tokens: 40, first: 17,
      part: Part(firstLayer: 0, layerCount: 7, firstKVHead: 0, kvHeadCount: 2))
    let raw = try Samples.bytes(facts)
    for codecClass in [CodecClass.exact, .high, .small] {
      let profile = try codecClass.profileKind.map { _ in
        try Samples.profile(.weights, layout, part: facts.part)
      }
      let real = codecClass == .small ? CodecClass.balanced : codecClass
      let encoded = try Encoder(real, profile: profile).encode(raw, facts).bytes
      try check(encoded, profile)
    }
  }

  @Test("of a transform gives each layer of a group by itself")
  func transform() throws {
    let layout = try Samples.attention(
      layers: 5, heads: 2, dims: 16, rope: RoPE(theta: 100, rotaryDims: 16))
    let profile = try Samples.profile(.groupedBasis, layout)
    let facts = try Samples.facts(layout, tokens: 64, first: 5)
    let encoded = try Encoder(.small, profile: profile).encode(try Samples.bytes(facts), facts)
    #expect(encoded.tally.counts[.transform]?.blocks == 6)
    try check(encoded.bytes, profile)
  }

  private func check(_ encoded: [UInt8], _ profile: Profile?) throws {
    let header = try EncodedHeader(reading: encoded)
    let whole = try decoded(encoded, profile: profile)
    let decoder = try Decoder(header, profile: profile)
    for first in 0..<header.layerCount {
      for last in first..<header.layerCount {
        let layers = first..<last + 1
        let needed = header.encodedRange(layers: layers)
        let wanted = header.rawRange(layers: layers)
        var room = [UInt8](repeating: 0x5A, count: wanted.count)
        try decode(decoder, layers, Array(encoded[needed]), at: needed.lowerBound, &room)
        #expect(room == Array(whole[wanted]), "layers \(layers)")
        let short = Array(encoded[needed].dropLast())
        #expect(throws: CodecFault.self) {
          try decode(decoder, layers, short, at: needed.lowerBound, &room)
        }
      }
    }
    var room = [UInt8](repeating: 0, count: whole.count)
    #expect(throws: CodecFault.self) { try decode(decoder, 0..<0, encoded, at: 0, &room) }
    #expect(throws: CodecFault.self) {
      try decode(decoder, 0..<header.layerCount + 1, encoded, at: 0, &room)
    }
    #expect(throws: CodecFault.self) { try decode(decoder, 0..<1, encoded, at: 0, &room) }
  }

  private func decode(
    _ decoder: Decoder, _ layers: Range<Int>, _ window: [UInt8], at offset: Int,
    _ room: inout [UInt8]
  ) throws(CodecFault) {
    var span = room.mutableSpan
    var target = span.mutableBytes
    try decoder.decodeLayers(layers, of: window.span.bytes, at: offset, into: &target)
  }

  @Test("can begin when the header is there")
  func prefix() throws {
    let facts = try Samples.facts(try Samples.attention(), tokens: 32)
    let encoded = try Encoder(.exact).encode(try Samples.bytes(facts), facts).bytes
    let whole = try EncodedHeader(reading: encoded)
    let count = try EncodedHeader.byteCount(of: encoded.span.bytes.extracting(first: 16))
    #expect(count == whole.headerByteCount)
    #expect(try EncodedHeader(reading: Array(encoded[..<count])).blocks == whole.blocks)
    #expect(throws: CodecFault.truncated(needed: count, have: count - 1)) {
      try EncodedHeader(reading: Array(encoded[..<(count - 1)]))
    }
  }
}

@Suite("Opaque objects")
struct OpaqueTests {
  @Test(
    "are compressed where it pays, kept as they are where not",
    arguments: [
      CodecClass.zstd, .lz4,
    ])
  func roundTrip(_ codecClass: CodecClass) throws {
    var dice = Dice(5)
    let noise = (0..<5000).map { _ in UInt8(truncatingIfNeeded: dice.next() >> 20) }
    let text = (0..<5000).map { UInt8($0 % 26 + 97) }
    for (raw, pays) in [(text, true), (noise, false), ([7], false), ([7, 7], false)] {
      let encoded = try Encoder(codecClass).encode(raw, .opaque)
      #expect(try decoded(encoded.bytes) == raw)
      #expect((encoded.bytes.count < raw.count) == pays)
      #expect(encoded.bytes.count <= raw.count + encoded.headerByteCount)
      #expect(encoded.tally.fellBack == !pays)
    }
  }

  @Test("are for their classes, layouts for the others")
  func classes() throws {
    let facts = try Samples.facts(try Samples.attention(), tokens: 4)
    let raw = try Samples.bytes(facts)
    #expect(throws: CodecFault.self) { try Encoder(.zstd).encode(raw, facts) }
    #expect(throws: CodecFault.self) { try Encoder(.exact).encode(raw, .opaque) }
    #expect(throws: CodecFault.self) { try Encoder(.zstd).encode([], .opaque) }
    #expect(throws: CodecFault.self) { try Encoder(.exact).encode(raw + [0], facts) }
  }

  @Test("have a frame that says another length refused")
  func bombs() throws {
    let raw = [UInt8](repeating: 7, count: 100_000)
    let encoded = try Encoder(.zstd).encode(raw, .opaque).bytes
    var header = try EncodedHeader(reading: encoded)
    var changed = encoded
    for claimed in [1000, 99_999, 100_001] as [UInt64] {
      changed = encoded
      Reseal.put(claimed, &changed, at: 16)
      Reseal.header(of: &changed, count: header.headerByteCount)
      #expect(throws: CodecFault.self) { try decoded(changed) }
    }
    header = try EncodedHeader(reading: encoded)
    #expect(throws: CodecFault.self) {
      try Decoder(header).decode(encoded, limit: 99_999)
    }
  }
}
