/// A text known by name: the chunks that its KV is kept in, from its own root.
///
/// The name says nothing of whether the chunks are there; that is asked when it is resolved.
package struct Document: Hashable, Sendable {
  /// Longest name, in bytes of UTF-8.
  package static let nameBytesMax = 256
  /// Longest metadata, in bytes of UTF-8.
  package static let metadataBytesMax = 4096

  /// 1 to 256 bytes without control characters; a tenant has one document of a name.
  package let name: String
  /// The layout of the KV.
  package let layout: LayoutID
  /// Tokens of the whole text.
  package let tokenCount: Int
  /// Tokens of each chunk but the last, which may be shorter.
  package let chunkTokens: Int
  /// Hashes of all chunks, in order.
  package let hashes: [ChunkHash]
  /// What its publisher wants to be told of it again; may be empty.
  package let metadata: String

  /// Checks a document's facts.
  ///
  /// - Throws: a fault that names `name`, `metadata`, `chunkTokens`, `tokenCount` or `count`.
  package init(
    name: String, layout: LayoutID, tokenCount: Int, chunkTokens: Int, hashes: [ChunkHash],
    metadata: String = ""
  ) throws(FieldFault) {
    self.name = try Self.checked(name)
    guard metadata.utf8.count <= Self.metadataBytesMax else {
      throw FieldFault(
        "metadata", value: metadata.utf8.count, limit: Self.metadataBytesMax, "too long")
    }
    guard chunkTokens >= 1 else {
      throw FieldFault("chunkTokens", value: max(0, chunkTokens), limit: 1, "must be positive")
    }
    guard tokenCount >= 1 else {
      throw FieldFault("tokenCount", value: max(0, tokenCount), limit: 1, "must be positive")
    }
    let chunks = (tokenCount - 1) / chunkTokens + 1
    guard hashes.count == chunks else {
      throw FieldFault(
        "count", value: hashes.count, limit: chunks, "tokens make another number of chunks")
    }
    self.layout = layout
    self.tokenCount = tokenCount
    self.chunkTokens = chunkTokens
    self.hashes = hashes
    self.metadata = metadata
  }

  /// Checks a name.
  ///
  /// - Throws: a fault that names `name` if it is empty, too long or has control characters.
  package static func checked(_ name: String) throws(FieldFault) -> String {
    guard (1...nameBytesMax).contains(name.utf8.count) else {
      throw FieldFault(
        "name", value: name.utf8.count, limit: nameBytesMax, "must be 1 to 256 bytes")
    }
    for scalar in name.unicodeScalars where scalar.value < 32 || (127...159) ~= scalar.value {
      throw FieldFault("name", value: UInt64(scalar.value), limit: 32, "a control character")
    }
    return name
  }

  /// Memory that keeping it takes, about.
  package var byteCount: Int {
    256 + name.utf8.count + metadata.utf8.count + hashes.count * ChunkHash.byteCount
  }
}
