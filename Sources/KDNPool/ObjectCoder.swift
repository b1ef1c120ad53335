package import KDNCore
package import KDNTier

/// What a coder is told of an object besides its bytes.
package struct CodingSubject: Sendable {
  /// The tenant.
  package let namespace: NamespaceName
  /// The full name.
  package let key: ObjectKey
  /// The layout that the bytes have; nil: bytes of no known layout, or of another variant of it.
  package let layout: Layout?
  /// Position of the first token in its chain.
  package let firstToken: Int
  /// How many tokens; 0 for an opaque object.
  package let tokenCount: Int
  /// Length in bytes, as it was stored.
  package let byteCount: Int
  /// XXH3-64 of these bytes.
  package let checksum: Checksum
}

/// Bytes that an encoder made.
package struct Encoding: Sendable {
  /// The encoded bytes.
  package let bytes: [UInt8]
  /// XXH3-64 of what decoding them gives.
  package let decodedChecksum: Checksum
  /// SHA-256 of the profile that decoding needs; `ChunkHash.none` without one.
  package let profile: ChunkHash

  /// Puts the parts together.
  package init(bytes: [UInt8], decodedChecksum: Checksum, profile: ChunkHash = .none) {
    self.bytes = bytes
    self.decodedChecksum = decodedChecksum
    self.profile = profile
  }
}

/// How encoding an object went.
package enum EncodingAnswer: Sendable {
  case encoded(Encoding)
  /// It does not pay, or the class does not fit the object.
  case declined
  /// The class needs a profile, and none for the object is in use.
  case withoutProfile
  case failed
}

/// How decoding an object went.
package enum DecodingAnswer: Sendable {
  case decoded
  /// There is no such codec here, or its profile is not here.
  case undecodable
  /// These are not bytes of that form.
  case failed
}

/// Turns stored bytes into another form and back; called on many threads at once.
///
/// What it says is not believed: the pool decodes what was encoded, and compares checksums, before
/// it gives raw bytes up.
package protocol ObjectCoder: Sendable {
  /// Whether a codec gives back exactly what was encoded.
  func isExact(_ codec: UInt8) -> Bool
  /// Whether bytes of this form can be decoded now; cheap.
  func canDecode(_ form: StoredForm) -> Bool
  /// The profile that a class of this number would take now; cheap.
  func profile(
    for codec: UInt8, _ layout: LayoutID, in namespace: NamespaceName
  ) -> CodecProfileUse
  /// Encodes an object's bytes as a class of this number.
  func encode(
    _ raw: RawSpan, _ subject: CodingSubject, as codec: UInt8
  ) -> EncodingAnswer
  /// Decodes all bytes of an object into `raw`, which has the object's length.
  func decode(
    _ encoded: RawSpan, _ form: StoredForm, _ subject: CodingSubject,
    into raw: inout MutableRawSpan
  ) -> DecodingAnswer
}

/// Where coding is done: off the threads that serve.
package protocol CodingExecutor: Sendable {
  /// Runs `work` once, soon, on another thread; the caller bounds how many wait.
  func run(_ work: @escaping @Sendable () -> Void)
}

extension BackgroundThreads: CodingExecutor {}

extension CodingSubject {
  init(
    _ key: ObjectKey, in namespace: Namespace, firstToken: Int, tokenCount: Int, byteCount: Int,
    checksum: Checksum
  ) {
    let hasLayout = key.kind == .layout && key.variant == 0
    self.init(
      namespace: namespace.name, key: key,
      layout: hasLayout ? namespace.geometry(of: key.layout)?.layout : nil,
      firstToken: firstToken, tokenCount: tokenCount, byteCount: byteCount, checksum: checksum)
  }

  init(_ object: StoredObject) {
    self.init(
      object.key, in: object.namespace, firstToken: object.firstToken,
      tokenCount: object.tokenCount, byteCount: object.byteCount, checksum: object.checksum)
  }

  init(_ facts: ObjectFacts, in namespace: Namespace) {
    self.init(
      facts.key, in: namespace, firstToken: facts.firstToken, tokenCount: facts.tokenCount,
      byteCount: facts.byteCount, checksum: facts.checksum)
  }
}
