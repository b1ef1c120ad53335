package import KDNCore

/// CODEC_PROFILE: what codecs learned of a model, as objects named by the hash of their bytes.
package enum CodecProfileRequest: FrameBody {
  /// The bytes of the profile with this SHA-256.
  case get(ChunkHash)
  /// Encode with the stored profile of this SHA-256 from now on.
  case use(ChunkHash)
  /// The profiles in use of this layout; of all if it is `LayoutID.none`.
  case list(LayoutID)

  enum Verb: UInt8 {
    case get = 1
    case use = 2
    case list = 3
  }

  /// The key of the object that holds a profile: its bytes are their own key.
  package static func key(of hash: ChunkHash) -> ObjectKey { ObjectKey(opaque: hash) }

  /// Decodes a whole body; throws a fault that names `verb`, `reserved` or `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 4)
    switch try Verb(from: &reader, reservedBytes: 3) {
    case .get:
      try reader.require(exactly: ChunkHash.byteCount)
      self = .get(try ChunkHash(from: &reader))
    case .use:
      try reader.require(exactly: ChunkHash.byteCount)
      self = .use(try ChunkHash(from: &reader))
    case .list:
      try reader.require(exactly: LayoutID.byteCount)
      self = .list(try LayoutID(from: &reader))
    }
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .get(let hash):
      Verb.get.write(reservedBytes: 3, to: &writer)
      hash.write(to: &writer)
    case .use(let hash):
      Verb.use.write(reservedBytes: 3, to: &writer)
      hash.write(to: &writer)
    case .list(let layout):
      Verb.list.write(reservedBytes: 3, to: &writer)
      layout.write(to: &writer)
    }
  }

  /// Whether the answer is one of GET: a descriptor, then the profile's bytes as payload.
  package var bearsPayload: Bool { if case .get = self { true } else { false } }
}

/// What the header of a profile tells.
package struct CodecProfileFacts: Hashable, Sendable {
  /// SHA-256 of the profile's bytes.
  package let hash: ChunkHash
  /// The layout that it was learned for.
  package let layout: LayoutID
  /// The layers and heads that it holds for.
  package let part: Part
  /// Length of the profile.
  package let byteCount: Int
  /// Tokens that it was learned from.
  package let tokenCount: UInt64
  /// 1 weights, 2 basis over groups of layers, 3 basis over all layers.
  package let kind: UInt8

  /// Bytes on the wire, reserved ones included.
  package static let byteCount = 80
  /// Largest number of a kind.
  package static let kindMax: UInt8 = 3

  /// Gathers the facts.
  package init(
    hash: ChunkHash, layout: LayoutID, part: Part, byteCount: Int, tokenCount: UInt64, kind: UInt8
  ) {
    self.hash = hash
    self.layout = layout
    self.part = part
    self.byteCount = byteCount
    self.tokenCount = tokenCount
    self.kind = kind
  }

  /// Takes 80 bytes; throws a fault that names `kind`, `byteCount`, `reserved` or `bodyLength`.
  init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.byteCount)
    hash = try ChunkHash(from: &reader)
    layout = try LayoutID(from: &reader)
    part = try Part(from: &reader)
    byteCount = try reader.takeByteCount("byteCount", least: 1, limit: .max)
    tokenCount = try reader.take("tokenCount")
    kind = try reader.take("kind")
    guard (1...Self.kindMax).contains(kind) else {
      throw FieldFault(
        "kind", value: UInt64(kind), limit: UInt64(Self.kindMax), "no such kind of profile")
    }
    try reader.takeReserved(count: 7)
  }

  func write(to writer: inout ByteWriter) {
    hash.write(to: &writer)
    layout.write(to: &writer)
    part.write(to: &writer)
    writer.put(UInt64(byteCount))
    writer.put(tokenCount)
    writer.put(kind)
    writer.putZeros(7)
  }
}

/// The answer to CODEC_PROFILE.
package enum CodecProfileResponse: FrameBody {
  /// The answer of a GET of one whole item, in front of the profile's bytes.
  case described(GetResponse)
  /// The profile is in use now.
  case used(CodecProfileFacts)
  /// Profiles in use.
  case listed([CodecProfileFacts])

  /// Most profiles in a list.
  package static let listMax = 1024

  /// Decodes a whole body that answers a request for `count` items: 1 for the verb get, else 0.
  ///
  /// - Throws: a fault that names `verb`, `count`, `reserved`, `bodyLength` or a field of a
  ///   descriptor or of facts.
  package init(from reader: inout ByteReader, count: Int) throws(FieldFault) {
    guard count == 0 else {
      self = .described(try GetResponse(from: &reader, count: count))
      return
    }
    try reader.require(atLeast: 8)
    switch try CodecProfileRequest.Verb(from: &reader, reservedBytes: 7) {
    case .get: throw FieldFault("verb", value: 1, limit: 2, "bytes were not asked for")
    case .use:
      try reader.require(exactly: CodecProfileFacts.byteCount)
      self = .used(try CodecProfileFacts(from: &reader))
    case .list:
      try reader.require(atLeast: 8)
      let count = try reader.takeCount("count", limit: Self.listMax)
      try reader.takeZero(UInt32.self)
      try reader.require(exactly: count * CodecProfileFacts.byteCount)
      var rows: [CodecProfileFacts] = []
      rows.reserveCapacity(count)
      for _ in 0..<count { rows.append(try CodecProfileFacts(from: &reader)) }
      self = .listed(rows)
    }
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .described(let answer): answer.write(to: &writer)
    case .used(let facts):
      CodecProfileRequest.Verb.use.write(reservedBytes: 7, to: &writer)
      facts.write(to: &writer)
    case .listed(let rows):
      CodecProfileRequest.Verb.list.write(reservedBytes: 7, to: &writer)
      writer.put(UInt32(rows.count))
      writer.put(UInt32(0))
      for facts in rows { facts.write(to: &writer) }
    }
  }
}

extension CodecProfileRequest.Verb {
  fileprivate init(from reader: inout ByteReader, reservedBytes: Int) throws(FieldFault) {
    let raw: UInt8 = try reader.take("verb")
    guard let verb = Self(rawValue: raw) else {
      throw FieldFault("verb", value: UInt64(raw), limit: 3, "unknown verb")
    }
    try reader.takeReserved(count: reservedBytes)
    self = verb
  }

  fileprivate func write(reservedBytes: Int, to writer: inout ByteWriter) {
    writer.put(rawValue)
    writer.putZeros(reservedBytes)
  }
}
