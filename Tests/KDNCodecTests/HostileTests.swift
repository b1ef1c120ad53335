import KDNCore
import Testing

@testable import KDNCodec

/// Small objects of every class, with what decodes them.
private struct Subject {
  let name: String
  let bytes: [UInt8]
  let raw: [UInt8]
  let profile: Profile?

  static func all() throws -> [Subject] {
    let layout = try Samples.attention(
      layers: 2, heads: 1, dims: 8, rope: RoPE(theta: 100, rotaryDims: 8))
    let facts = try Samples.facts(layout, tokens: 64, first: 3)
    let raw = try Samples.bytes(facts)
    var subjects: [Subject] = []
    for codecClass in [CodecClass.exact, .high, .balanced, .small, .archive] {
      let profile = try codecClass.profileKind.map { try Samples.profile($0, layout) }
      let encoded = try Encoder(codecClass, profile: profile).encode(raw, facts)
      subjects.append(
        Subject(name: codecClass.name, bytes: encoded.bytes, raw: raw, profile: profile))
    }
    let text = (0..<600).map { UInt8($0 % 26 + 97) }
    for codecClass in [CodecClass.zstd, .lz4] {
      let encoded = try Encoder(codecClass).encode(text, .opaque)
      subjects.append(
        Subject(name: codecClass.name, bytes: encoded.bytes, raw: text, profile: nil))
    }
    return subjects
  }
}

@Suite("Encoded bytes are not trusted")
struct HostileTests {
  @Test("objects cut anywhere, or longer than they say, are refused")
  func truncated() throws {
    for subject in try Subject.all() {
      for count in 0..<subject.bytes.count {
        #expect(throws: CodecFault.self, "\(subject.name) cut at \(count)") {
          try decoded(Array(subject.bytes[..<count]), profile: subject.profile)
        }
      }
      #expect(throws: CodecFault.self) {
        try decoded(subject.bytes + [0], profile: subject.profile)
      }
    }
  }

  @Test("objects with a bit changed anywhere are refused")
  func flipped() throws {
    for subject in try Subject.all() {
      for index in subject.bytes.indices {
        var changed = subject.bytes
        changed[index] ^= 1 << UInt8(index % 8)
        let back = try? decoded(changed, profile: subject.profile)
        #expect(back == nil, "\(subject.name) byte \(index)")
      }
    }
  }

  @Test("blocks whose checksum was made right never do harm")
  func resealed() throws {
    var refused = 0
    for subject in try Subject.all() {
      let header = try EncodedHeader(reading: subject.bytes)
      let whole = try decoded(subject.bytes, profile: subject.profile)
      for block in header.blocks {
        for index in block.range {
          var changed = subject.bytes
          changed[index] ^= 0x55
          Reseal.blocks(of: &changed, header)
          // Few bytes do not count, such as which of two equal matches LZ4 copies.
          if let back = try? decoded(changed, profile: subject.profile) {
            #expect(back == whole)
          } else {
            refused += 1
          }
        }
      }
    }
    #expect(refused > 1000)
  }

  @Test("headers whose checksum was made right are refused or say the same")
  func resealedHeaders() throws {
    for subject in try Subject.all() {
      let header = try EncodedHeader(reading: subject.bytes)
      for index in 0..<header.headerByteCount - 8 {
        for bit in [0, 3, 7] as [UInt8] {
          var changed = subject.bytes
          changed[index] ^= 1 << bit
          Reseal.header(of: &changed, count: header.headerByteCount)
          guard let read = try? EncodedHeader(reading: changed) else { continue }
          #expect(read.byteCount <= EncodedHeader.objectBytesMax)
          #expect(read.encoded() == Array(changed[..<read.headerByteCount]))
          _ = try? Decoder(read, profile: subject.profile).decode(changed, limit: 1 << 20)
        }
      }
    }
  }

  @Test("noise behind a sound header is refused")
  func noise() throws {
    var dice = Dice(99)
    for subject in try Subject.all() {
      let header = try EncodedHeader(reading: subject.bytes)
      for _ in 0..<200 {
        var changed = subject.bytes
        for index in header.headerByteCount..<changed.count {
          changed[index] = UInt8(truncatingIfNeeded: dice.next() >> 30)
        }
        Reseal.blocks(of: &changed, header)
        #expect(throws: CodecFault.self) { try decoded(changed, profile: subject.profile) }
      }
    }
  }
}

/// Makes checksums of changed objects right.
enum Reseal {
  static func put(_ value: UInt64, _ bytes: inout [UInt8], at offset: Int) {
    for index in 0..<8 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
  }

  static func header(of bytes: inout [UInt8], count: Int) {
    put(Checksum(of: bytes, first: count - 8).value, &bytes, at: count - 8)
  }

  /// Encoded checksums of all blocks, then the header's.
  static func blocks(of bytes: inout [UInt8], _ header: EncodedHeader) {
    let index = header.headerByteCount - 8 - header.blocks.count * BlockEntry.byteCount
    for (number, block) in header.blocks.enumerated() {
      let checksum = Checksum(of: bytes[block.range]).value
      put(checksum, &bytes, at: index + number * BlockEntry.byteCount + 24)
    }
    Self.header(of: &bytes, count: header.headerByteCount)
  }
}
