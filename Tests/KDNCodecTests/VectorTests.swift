import Foundation
import KDNCore
import Testing

@testable import KDNCodec

/// Rows of `Vectors/codecs.json`.
private struct CodecVectors: Decodable {
  struct ProfileRow: Decodable, Sendable {
    let hash: String
    let hex: String
  }

  struct ObjectRow: Decodable, Sendable, CustomTestStringConvertible {
    let name: String
    let `class`: String
    let profile: String?
    let rawChecksum: UInt64
    let hex: String
    let decoded: String

    var testDescription: String { name }
  }

  let profiles: [ProfileRow]
  let objects: [ObjectRow]

  static let shared: CodecVectors = {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Vectors/codecs.json")
    do {
      return try JSONDecoder().decode(CodecVectors.self, from: Data(contentsOf: path))
    } catch {
      fatalError("\(path.path): \(error)")
    }
  }()
}

private func unhex(_ text: String) -> [UInt8] {
  let digits = Array(text.utf8)
  func value(_ digit: UInt8) -> UInt8 { digit < 58 ? digit - 48 : digit - 87 }
  return stride(from: 0, to: digits.count, by: 2).map {
    value(digits[$0]) << 4 | value(digits[$0 + 1])
  }
}

@Suite("Vectors of codecs")
struct CodecVectorTests {
  @Test("decode to the same bytes for ever", arguments: CodecVectors.shared.objects)
  private func objects(_ row: CodecVectors.ObjectRow) throws {
    let bytes = unhex(row.hex)
    let header = try EncodedHeader(reading: bytes)
    #expect(header.codecClass.name == row.class)
    #expect(header.rawChecksum.value == row.rawChecksum)
    #expect(header.profile.map { "\($0)" } == row.profile)
    #expect(header.encoded() == Array(bytes[..<header.headerByteCount]))
    let known = CodecVectors.shared.profiles.first { $0.hash == row.profile }
    let profile = try known.map { try Profile(validating: unhex($0.hex)) }
    #expect(try decoded(bytes, profile: profile) == unhex(row.decoded))
  }

  @Test("are of every kind of block, plane and element type")
  func coverage() throws {
    var kinds = Set<BlockKind>()
    var planes = Set<Plane>()
    var types = Set<ElementType>()
    for row in CodecVectors.shared.objects {
      let header = try EncodedHeader(reading: unhex(row.hex))
      kinds.formUnion(header.blocks.map(\.kind))
      planes.formUnion(header.blocks.map(\.plane))
      types.formUnion(header.facts.layout.map { [$0.elementType] } ?? [])
    }
    #expect(kinds == Set(BlockKind.allCases))
    #expect(planes == Set(Plane.allCases))
    #expect(types == Set(ElementType.allCases))
  }

  @Test("have profiles that are named by their hash, and are written the same again")
  func profiles() throws {
    for row in CodecVectors.shared.profiles {
      let profile = try Profile(validating: unhex(row.hex))
      #expect("\(profile.hash)" == row.hash)
      var writer = try ProfileWriter(
        kind: profile.kind, layout: profile.layout, part: profile.part,
        tokenCount: profile.tokenCount)
      for layer in 0..<profile.layerCount {
        for plane in Plane.allCases {
          guard let known = profile.plane(layerIndex: layer, plane) else { continue }
          try writer.add(known, layerIndex: layer, plane)
        }
      }
      for basis in profile.bases.reversed() { try writer.add(basis) }
      #expect(try writer.finish() == profile.bytes)
    }
  }
}

@Suite("Frequencies of rotations")
struct FrequencyTests {
  @Test("follow the formulas of each scaling")
  func formulas() {
    let plain = RoPE(theta: 10000, rotaryDims: 8).pairFrequencies
    for (found, wanted) in zip(plain, [1, 0.1, 0.01, 0.001] as [Double]) {
      #expect(abs(found - wanted) < 1e-15)
    }
    func scaled(_ scaling: RoPE.Scaling, _ factors: [Double]) -> [Double] {
      let rope = RoPE(theta: 10000, scaling: scaling, rotaryDims: 8, factors: factors)
      return zip(rope.pairFrequencies, plain).map { $0 / $1 }
    }
    #expect(scaled(.dynamic, [4, 2048]) == [1, 1, 1, 1])
    #expect(scaled(.linear, [4]).allSatisfy { abs($0 - 0.25) < 1e-15 })
    let long = scaled(.longrope, [4, 2048, 1, 1, 2, 4, 8, 9, 9, 9, 9])
    for (found, wanted) in zip(long, [1, 0.5, 0.25, 0.125] as [Double]) {
      #expect(abs(found - wanted) < 1e-15)
    }
    // Wavelengths 6.3, 63, 628 and 6283 of 8192 / 4 ... 8192 / 1: the last is between.
    let llama = scaled(.llama3, [8, 1, 4, 8192])
    #expect(llama[..<3].allSatisfy { abs($0 - 1) < 1e-15 })
    let smooth = (8192 / (2 * Double.pi / 0.001) - 1) / 3
    #expect(abs(llama[3] - ((1 - smooth) / 8 + smooth)) < 1e-12)
    // Dimensions of 32 and 1 rotations in 4096 tokens: 1.3 and 2.8, so the ramp is 1 ... 3.
    let yarn = scaled(.yarn, [16, 4096, 32, 1, 1])
    for (found, wanted) in zip(yarn, [1, 1, 0.53125, 0.0625] as [Double]) {
      #expect(abs(found - wanted) < 1e-12)
    }
  }

  @Test("that are no numbers count as not rotated")
  func notFinite() {
    let rope = RoPE(theta: 10000, scaling: .linear, rotaryDims: 4, factors: [0])
    #expect(rope.pairFrequencies == [0, 0])
  }
}
