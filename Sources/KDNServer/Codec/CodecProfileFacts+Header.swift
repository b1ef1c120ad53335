internal import Crypto
internal import KDNCore
internal import KDNWire

extension CodecProfileFacts {
  private static let magic = Array("KDNF".utf8)
  private static let version: UInt16 = 1
  private static let headerByteCount = 64
  /// Longest profile.
  private static let bytesMax = 1 << 30

  /// Reads what the header of a profile tells, and checks that these are the bytes named.
  ///
  /// - Throws: a fault that names `profile` if the bytes are others, or the header's field at
  ///   fault.
  init(readingHeaderOf bytes: [UInt8], named hash: ChunkHash) throws(FieldFault) {
    guard bytes.count >= Self.headerByteCount, bytes.count <= Self.bytesMax else {
      throw FieldFault(
        "profile", value: bytes.count, limit: Self.bytesMax, "no profile is so long or short")
    }
    guard bytes.starts(with: Self.magic) else {
      throw FieldFault("profile.magic", value: 0, limit: 0, "does not begin with KDNF")
    }
    guard try ChunkHash(Array(SHA256.hash(data: bytes))) == hash else {
      throw FieldFault("profile", value: 0, limit: 0, "the bytes stored have another hash")
    }
    var reader = ByteReader(bytes)
    _ = try reader.takeBytes("profile.magic", count: Self.magic.count)
    let version: UInt16 = try reader.take("profile.version")
    guard version == Self.version else {
      throw FieldFault(
        "profile.version", value: UInt64(version), limit: UInt64(Self.version), "unknown version")
    }
    let kind: UInt8 = try reader.take("profile.kind")
    guard (1...Self.kindMax).contains(kind) else {
      throw FieldFault(
        "profile.kind", value: UInt64(kind), limit: UInt64(Self.kindMax), "no such kind")
    }
    try reader.takeReserved("profile.reserved", count: 1)
    let byteCount: UInt64 = try reader.take("profile.byteCount")
    guard byteCount == UInt64(bytes.count) else {
      throw FieldFault(
        "profile.byteCount", value: byteCount, limit: UInt64(bytes.count), "is not its length")
    }
    let layout = try LayoutID(from: &reader)
    let part = try Part(from: &reader)
    let tokenCount: UInt64 = try reader.take("profile.tokenCount")
    self.init(
      hash: hash, layout: layout, part: part, byteCount: bytes.count, tokenCount: tokenCount,
      kind: kind)
  }
}
