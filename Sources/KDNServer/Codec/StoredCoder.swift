internal import KDNCodec
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTier

/// The pool's codecs: those of `KDNCodec`, with the profiles that clients have stored.
final class StoredCoder: ObjectCoder {
  /// What profiles begin with; they are never compressed, since decoding may need them.
  private static let profileMagic = Array("KDNF".utf8)

  private let profiles: LoadedProfiles

  init(profiles: LoadedProfiles) { self.profiles = profiles }

  func isExact(_ codec: UInt8) -> Bool {
    CodecClass(rawValue: codec).map { !$0.isLossy } ?? false
  }

  /// A profile that is not loaded may be stored: decoding finds that out.
  func canDecode(_ form: StoredForm) -> Bool { CodecClass(rawValue: form.codec) != nil }

  func profile(
    for codec: UInt8, _ layout: LayoutID, in namespace: NamespaceName
  ) -> CodecProfileUse {
    guard let kind = CodecClass(rawValue: codec)?.profileKind else { return .notNeeded }
    let profile = profiles.inUse(kind, layout, in: namespace)
    return Self.hash(profile?.hash).map { .inUse($0) } ?? .missing
  }

  func encode(
    _ raw: RawSpan, _ subject: CodingSubject, as codec: UInt8
  ) -> EncodingAnswer {
    guard let codecClass = CodecClass(rawValue: codec), let facts = Self.facts(of: subject),
      !raw.starts(with: Self.profileMagic)
    else { return .declined }
    var profile: Profile?
    if let kind = codecClass.profileKind {
      profile = profiles.inUse(kind, subject.key.layout, in: subject.namespace)
      guard profile != nil else { return .withoutProfile }
    }
    do throws(CodecFault) {
      let object = try Encoder(codecClass, profile: profile).encode(raw, facts)
      guard object.bytes.count < raw.byteCount else { return .declined }
      return .encoded(
        Encoding(
          bytes: object.bytes, decodedChecksum: Checksum(object.decodedChecksum),
          profile: try Self.profileNeeded(by: object.bytes)))
    } catch {
      return .failed
    }
  }

  func decode(
    _ encoded: RawSpan, _ form: StoredForm, _ subject: CodingSubject,
    into raw: inout MutableRawSpan
  ) -> DecodingAnswer {
    do throws(CodecFault) {
      let header = try EncodedHeader(reading: encoded)
      guard header.codecClass.rawValue == form.codec, header.rawByteCount == subject.byteCount,
        header.rawChecksum == subject.checksum
      else { return .failed }
      var profile: Profile?
      if let hash = Self.hash(header.profile) {
        profile = profiles.find(hash, in: subject.namespace)
        guard profile != nil else { return .undecodable }
      }
      try Decoder(header, profile: profile).decode(encoded, into: &raw)
      return .decoded
    } catch {
      return .failed
    }
  }

  private static func facts(of subject: CodingSubject) -> EncodingFacts? {
    guard let layout = subject.layout else {
      return subject.key.kind == .opaque ? .opaque : nil
    }
    return EncodingFacts(
      layout: layout, part: subject.key.part, firstToken: UInt64(subject.firstToken),
      tokenCount: subject.tokenCount)
  }

  private static func profileNeeded(by object: [UInt8]) throws(CodecFault) -> ChunkHash {
    hash(try EncodedHeader(reading: object).profile) ?? .none
  }

  private static func hash(_ profile: ProfileHash?) -> ChunkHash? {
    guard let profile, profile != .none else { return nil }
    return try? ChunkHash(profile.bytes)
  }
}
