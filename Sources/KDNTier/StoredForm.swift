package import KDNCore

/// The form that an object's bytes are kept in where that is not the one they were stored in.
///
/// An object keeps its name, its length and the checksum of what was stored in every form.
package struct StoredForm: Hashable, Sendable {
  /// Number of the codec's class, never 0.
  package let codec: UInt8
  /// Length of the encoded bytes, less than the object's own.
  package let byteCount: Int
  /// XXH3-64 of the encoded bytes.
  package let checksum: Checksum
  /// XXH3-64 of what decoding gives: the object's own if the codec is exact.
  package let decodedChecksum: Checksum
  /// SHA-256 of the profile that decoding needs; `ChunkHash.none` without one.
  package let profile: ChunkHash

  /// Puts the facts together.
  package init(
    codec: UInt8, byteCount: Int, checksum: Checksum, decodedChecksum: Checksum,
    profile: ChunkHash = .none
  ) {
    precondition(codec != Self.raw && byteCount > 0, "not a form of its own")
    self.codec = codec
    self.byteCount = byteCount
    self.checksum = checksum
    self.decodedChecksum = decodedChecksum
    self.profile = profile
  }

  /// The number that stands for bytes as they were stored.
  package static let raw: UInt8 = 0

  /// Whether decoding gives the bytes that were stored, whose checksum is `checksum`.
  package func isExact(of checksum: Checksum) -> Bool { decodedChecksum == checksum }
}

/// What objects of one form take in a tier.
package struct FormShare: Sendable, Equatable {
  /// How many objects.
  package var objects = 0
  /// Their bytes as they are kept.
  package var bytes = 0
  /// Their bytes as they were stored.
  package var rawBytes = 0

  /// Puts the numbers together.
  package init(objects: Int = 0, bytes: Int = 0, rawBytes: Int = 0) {
    self.objects = objects
    self.bytes = bytes
    self.rawBytes = rawBytes
  }
}
