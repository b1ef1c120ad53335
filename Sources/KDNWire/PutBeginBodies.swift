package import KDNCore

/// PUT_BEGIN: the facts of an object to be stored.
package struct PutBeginRequest: FrameBody {
  /// What a store outlives; numbers as on the wire.
  package enum Durability: UInt8, Sendable, CaseIterable {
    /// The process.
    case ram = 0
    /// A loss of power.
    case disk = 1
  }

  /// The object.
  package let key: ObjectKey
  /// Hash of the chunk before, `none` for a first chunk or an opaque object.
  package let parent: ChunkHash
  /// Bytes of the object, 1 to `maxObjectBytes`.
  package let totalBytes: Int
  /// Position of the chunk's first token in its chain.
  package let firstToken: UInt32
  /// Tokens of the chunk, 1 to 4096; 0 for an opaque object.
  package let tokenCount: UInt32
  /// How long the object may be kept, in milliseconds; 0 is for ever.
  package let ttlMilliseconds: UInt64
  /// What the store shall outlive.
  package let durability: Durability
  /// Codec of the bytes to come.
  package let codec: PayloadCodec
  /// What it cost to compute, in microseconds; 0 is unknown.
  package let recomputeMicroseconds: UInt32

  /// Bytes of the body.
  package static let byteCount = 128
  /// Most tokens of one chunk.
  package static let tokenCountMax = 4096

  /// Creates the request.
  package init(
    key: ObjectKey, parent: ChunkHash = .none, totalBytes: Int, firstToken: UInt32 = 0,
    tokenCount: UInt32 = 0, ttlMilliseconds: UInt64 = 0, durability: Durability = .ram,
    codec: PayloadCodec = .raw, recomputeMicroseconds: UInt32 = 0
  ) {
    self.key = key
    self.parent = parent
    self.totalBytes = totalBytes
    self.firstToken = firstToken
    self.tokenCount = tokenCount
    self.ttlMilliseconds = ttlMilliseconds
    self.durability = durability
    self.codec = codec
    self.recomputeMicroseconds = recomputeMicroseconds
  }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names the field at fault; `totalBytes` above its limit is `too_large`,
  ///   an unknown `durability` or `codec` is `unsupported`.
  package init(from reader: inout ByteReader, limits: Limits) throws(FieldFault) {
    try reader.require(exactly: Self.byteCount)
    key = try ObjectKey(from: &reader)
    parent = try ChunkHash(from: &reader, field: "parent")
    totalBytes = try reader.takeByteCount("totalBytes", limit: limits.maxObjectBytes)
    firstToken = try reader.take("firstToken")
    tokenCount = try reader.take("tokenCount")
    ttlMilliseconds = try reader.take("ttlMillis")
    let rawDurability: UInt8 = try reader.take("durability")
    guard let durability = Durability(rawValue: rawDurability) else {
      throw FieldFault("durability", value: UInt64(rawDurability), limit: 1, "unknown durability")
    }
    self.durability = durability
    codec = try PayloadCodec(from: &reader)
    guard codec == .raw else {
      throw FieldFault(
        "codec", value: UInt64(codec.rawValue), limit: 0, "objects are stored as they are")
    }
    try reader.takeZero(UInt16.self, "flags")
    recomputeMicroseconds = try reader.take("recomputeMicros")
    guard totalBytes > 0 else {
      throw FieldFault("totalBytes", value: 0, limit: 1, "an object has bytes")
    }
    try checkKind()
  }

  private func checkKind() throws(FieldFault) {
    switch key.kind {
    case .layout:
      guard (1...Self.tokenCountMax).contains(Int(tokenCount)) else {
        throw FieldFault(
          "tokenCount", value: Int(tokenCount), limit: Self.tokenCountMax, "must be 1 to 4096")
      }
    case .opaque:
      guard tokenCount == 0 else {
        throw FieldFault(
          "tokenCount", value: Int(tokenCount), limit: 0, "an opaque object has no tokens")
      }
      guard parent == .none else {
        throw FieldFault(
          "parent", value: parent.fingerprint, limit: 0, "an opaque object has no parent")
      }
    }
  }

  package func write(to writer: inout ByteWriter) {
    key.write(to: &writer)
    parent.write(to: &writer)
    writer.put(UInt64(totalBytes))
    writer.put(firstToken)
    writer.put(tokenCount)
    writer.put(ttlMilliseconds)
    writer.put(durability.rawValue)
    writer.put(codec.rawValue)
    writer.put(UInt16(0))
    writer.put(recomputeMicroseconds)
  }
}

/// The answer to PUT_BEGIN.
package enum PutBeginResponse: FrameBody {
  /// Room is reserved for the bytes.
  case reserved
  /// The key is there already, with this checksum; the bytes need not be sent.
  case present(Checksum)

  /// Decodes a whole body; throws a fault that names `state`, `objectChecksum`, `reserved` or
  /// `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 16)
    let state: UInt8 = try reader.take("state")
    try reader.takeReserved(count: 7)
    let checksum: UInt64 = try reader.take("objectChecksum")
    switch state {
    case 1:
      guard checksum == 0 else {
        throw FieldFault("objectChecksum", value: checksum, limit: 0, "nothing is stored yet")
      }
      self = .reserved
    case 2: self = .present(Checksum(checksum))
    default: throw FieldFault("state", value: UInt64(state), limit: 2, "must be 1 or 2")
    }
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .reserved:
      writer.put(UInt8(1))
      writer.putZeros(15)
    case .present(let checksum):
      writer.put(UInt8(2))
      writer.putZeros(7)
      writer.put(checksum.value)
    }
  }
}
