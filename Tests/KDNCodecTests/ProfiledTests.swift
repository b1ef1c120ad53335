import KDNCore
import Testing

@testable import KDNCodec

@Suite("Objects with a profile")
struct ProfiledTests {
  private static let classes: [(CodecClass, Profile.Kind, BlockKind)] = [
    (.balanced, .weights, .uniform), (.small, .groupedBasis, .transform),
    (.archive, .wholeBasis, .transform),
  ]

  private func layout(_ type: ElementType = .bf16) throws -> Layout {
    try Samples.attention(
      type, layers: 3, heads: 2, dims: 32, rope: RoPE(theta: 10000, rotaryDims: 32))
  }

  @Test("come back near what was stored, with the blocks of their class", arguments: 0..<3)
  func roundTrip(_ index: Int) throws {
    let (codecClass, kind, block) = Self.classes[index]
    for type in [ElementType.bf16, .f16, .f32] {
      let layout = try layout(type)
      let profile = try Samples.profile(kind, layout)
      for (tokens, first) in [(256, 0), (200, 1024)] as [(Int, UInt64)] {
        let facts = try Samples.facts(layout, tokens: tokens, first: first)
        let raw = try Samples.bytes(facts)
        let encoded = try Encoder(codecClass, profile: profile).encode(raw, facts)
        #expect(encoded.tally.counts.map(\.key) == [block])
        #expect(!encoded.tally.fellBack)
        let back = try decoded(encoded.bytes, profile: profile)
        #expect(Checksum(of: back).value == encoded.decodedChecksum)
        for error in try Samples.distortion(raw, back, facts) { #expect(error < 0.2) }
        #expect(encoded.bytes.count * 3 < raw.count)
      }
    }
  }

  @Test("fall back to weights where the energy lies outside of the basis")
  func residual() throws {
    let layout = try layout()
    let profile = try Samples.profile(.groupedBasis, layout, residual: 0)
    var settings = EncoderSettings()
    settings.residualShareMore = 0
    settings.residualFactorMax = 0
    let facts = try Samples.facts(layout, tokens: 128, first: 128)
    let raw = try Samples.bytes(facts)
    let encoded = try Encoder(.small, profile: profile, settings: settings).encode(raw, facts)
    #expect(encoded.tally.counts[.transform] == nil)
    #expect(encoded.tally.counts[.uniform]?.blocks == 6)
    #expect(encoded.tally.fellBack)
    for error in try Samples.distortion(
      raw, try decoded(encoded.bytes, profile: profile), facts)
    { #expect(error < 0.2) }
  }

  @Test("keep what the profile does not expect, and take most rows in coarse steps")
  func coefficients() throws {
    let layout = try layout()
    let profile = try Samples.profile(.groupedBasis, layout)
    let facts = try Samples.facts(layout, tokens: 256, first: 256)
    let raw = try Samples.bytes(facts)
    var counts: [Int] = []
    for factor in [1.25, 0] as [Float] {
      var settings = EncoderSettings()
      settings.coefficientSpreadMin = 3
      settings.tailFactorMax = factor
      let encoded = try Encoder(.small, profile: profile, settings: settings).encode(raw, facts)
      let block = try EncodedHeader(reading: encoded.bytes).blocks[0]
      let start = block.range.lowerBound
      let count = Int(encoded.bytes[start + 12]) + Int(encoded.bytes[start + 13]) << 8
      let coarse = encoded.bytes[start + 16..<start + 16 + count].count { $0 & 0x80 != 0 }
      #expect(2 * coarse > count && coarse < count)
      counts.append(count)
      _ = try decoded(encoded.bytes, profile: profile)
    }
    #expect(counts[0] < counts[1])
  }

  @Test("are refused with marks of rows that mean nothing", arguments: [(15, 9), (16, 0x80)])
  func refusedMarks(place: Int, value: UInt8) throws {
    let layout = try layout()
    let profile = try Samples.profile(.groupedBasis, layout)
    let facts = try Samples.facts(layout, tokens: 64, first: 64)
    var bytes = try Encoder(.small, profile: profile).encode(try Samples.bytes(facts), facts).bytes
    let header = try EncodedHeader(reading: bytes)
    bytes[header.blocks[0].range.lowerBound + place] = value
    Reseal.blocks(of: &bytes, header)
    let field = place == 15 ? "shift" : "classes"
    let fault = #expect(throws: CodecFault.self) { try decoded(bytes, profile: profile) }
    #expect(fault.map { "\($0)".contains(field) } == true)
  }

  @Test("of a part that the bases do not cover take weights, of a layer alone its basis")
  func parts() throws {
    let layout = try layout()
    let profile = try Samples.profile(.groupedBasis, layout)
    let oneHead = Part(firstLayer: 0, layerCount: 3, firstKVHead: 1, kvHeadCount: 1)
    let twoLayers = Part(firstLayer: 1, layerCount: 2, firstKVHead: 0, kvHeadCount: 2)
    for (part, transforms, uniforms) in [(oneHead, 0, 6), (twoLayers, 2, 2)] {
      let facts = try Samples.facts(layout, tokens: 256, first: 256, part: part)
      let raw = try Samples.bytes(facts)
      let encoded = try Encoder(.small, profile: profile).encode(raw, facts)
      #expect(encoded.tally.counts[.transform]?.blocks ?? 0 == transforms)
      #expect(encoded.tally.counts[.uniform]?.blocks ?? 0 == uniforms)
      let back = try decoded(encoded.bytes, profile: profile)
      for error in try Samples.distortion(raw, back, facts) { #expect(error < 0.2) }
    }
  }

  @Test("cannot be decoded without their profile, or with another", arguments: 0..<3)
  func wrongProfile(_ index: Int) throws {
    let (codecClass, kind, _) = Self.classes[index]
    let layout = try layout()
    let profile = try Samples.profile(kind, layout)
    let other = try Samples.profile(kind, layout, residual: 2)
    let more = try Samples.profile(kind == .weights ? .groupedBasis : .weights, layout)
    let facts = try Samples.facts(layout, tokens: 64, first: 64)
    let encoded = try Encoder(codecClass, profile: profile).encode(
      try Samples.bytes(facts), facts)
    #expect(throws: CodecFault.missingProfile(profile.hash)) { try decoded(encoded.bytes) }
    for wrong in [other, more] where wrong.hash != profile.hash {
      #expect(throws: CodecFault.wrongProfile(wanted: profile.hash, given: wrong.hash)) {
        try decoded(encoded.bytes, profile: wrong)
      }
    }
  }

  @Test("need a profile of their kind and layout to be encoded")
  func refusedProfiles() throws {
    let layout = try layout()
    let weights = try Samples.profile(.weights, layout)
    #expect(throws: CodecFault.self) { try Encoder(.balanced) }
    #expect(throws: CodecFault.self) { try Encoder(.small, profile: weights) }
    let foreign = try Samples.facts(try Samples.attention(layers: 1), tokens: 32)
    let encoder = try Encoder(.balanced, profile: weights)
    let raw = try Samples.bytes(foreign)
    #expect(throws: CodecFault.self) { try encoder.encode(raw, foreign) }
  }
}

@Suite("Profiles")
struct ProfileTests {
  @Test("are read as they were written", arguments: Profile.Kind.allCases)
  func roundTrip(_ kind: Profile.Kind) throws {
    let layout = try Samples.attention(layers: 3, heads: 2, dims: 16)
    let profile = try Samples.profile(kind, layout)
    #expect(profile.kind == kind)
    #expect(profile.layoutID == layout.id)
    #expect(profile.tokenCount == 1000)
    #expect(profile.hash == ProfileHash(ofProfile: profile.bytes))
    #expect(profile.plane(layerIndex: 2, .values) == Samples.statistics(channels: 32))
    #expect(profile.plane(layerIndex: 3, .keys) == nil)
    #expect(profile.plane(layerIndex: 0, .layer) == nil)
    let counts: [Profile.Kind: [Int]] = [
      .weights: [], .groupedBasis: [2, 2, 1, 1], .wholeBasis: [3, 3],
    ]
    #expect(profile.bases.map(\.layerCount) == counts[kind])
  }

  @Test("are refused when cut or changed anywhere")
  func damaged() throws {
    let layout = try Samples.attention(layers: 1, heads: 1, dims: 2, rope: nil)
    let bytes = try Samples.profile(.groupedBasis, layout).bytes
    for count in 0..<bytes.count {
      #expect(throws: CodecFault.self) { try Profile(validating: Array(bytes[..<count])) }
    }
    for index in bytes.indices {
      var changed = bytes
      changed[index] ^= 1 << UInt8(index % 8)
      #expect(throws: CodecFault.self) { try Profile(validating: changed) }
    }
  }

  @Test(
    "are refused with numbers beyond their bounds, whatever their checksum",
    arguments: [
      Float.nan, .infinity, 0, -1, 0x1p41, 0x1p-41,
    ])
  func numbers(_ weight: Float) throws {
    let layout = try Samples.attention(layers: 1, heads: 1, dims: 2, rope: nil)
    var bytes = try Samples.profile(.weights, layout).bytes
    let first = 64 + (layout.canonicalEncoding.count + 7) / 8 * 8 + 8
    for index in 0..<4 {
      bytes[first + index] = UInt8(truncatingIfNeeded: weight.bitPattern >> (8 * index))
    }
    let end = bytes.count - 8
    let checksum = Checksum(of: bytes, first: end).value
    for index in 0..<8 { bytes[end + index] = UInt8(truncatingIfNeeded: checksum >> (8 * index)) }
    #expect(throws: CodecFault.self) { try Profile(validating: bytes) }
  }

  @Test("lack no plane and have no plane in two bases")
  func incomplete() throws {
    let layout = try Samples.attention(layers: 1, heads: 1, dims: 2, rope: nil)
    let part = try Samples.whole(layout)
    var writer = try ProfileWriter(kind: .wholeBasis, layout: layout, part: part, tokenCount: 1)
    #expect(throws: CodecFault.self) { try writer.finish() }
    for plane in [Plane.keys, .values] {
      try writer.add(Samples.statistics(channels: 2), layerIndex: 0, plane)
    }
    #expect(throws: CodecFault.self) { try writer.finish() }
    let basis = Basis(
      firstLayerIndex: 0, layerCount: 1, plane: .keys, residual: 0, scales: [1, 1],
      means: [0, 0], spreads: [1], matrix: [32767, 0])
    try writer.add(basis)
    #expect(try Profile(validating: try writer.finish()).bases == [basis])
    try writer.add(basis)
    #expect(throws: CodecFault.self) { try writer.finish() }
    #expect(throws: CodecFault.self) {
      try writer.add(Samples.statistics(channels: 3), layerIndex: 0, .keys)
    }
  }
}
