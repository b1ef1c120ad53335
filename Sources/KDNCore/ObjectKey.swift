/// The full name of an object inside a namespace; keys are always compared whole.
package struct ObjectKey: Hashable, Sendable {
  /// What the daemon knows of an object.
  package enum Kind: UInt8, Sendable {
    /// The daemon knows its axes.
    case layout = 1
    /// The daemon knows only its length.
    case opaque = 2
  }

  /// How many bytes a key has on the wire and on disk.
  package static let byteCount = 64

  /// Layout object or opaque object.
  package let kind: Kind
  /// Another form of the same KV; 0 is what was stored.
  package let variant: UInt32
  /// Chunk hash, or SHA-256 of the client's key bytes for an opaque object.
  package let hash: ChunkHash
  /// The layout, all zero for an opaque object.
  package let layout: LayoutID
  /// The slice of layers and heads, all zero for an opaque object.
  package let part: Part

  /// Names a layout object.
  package init(hash: ChunkHash, layout: LayoutID, part: Part, variant: UInt32 = 0) {
    self.kind = .layout
    self.variant = variant
    self.hash = hash
    self.layout = layout
    self.part = part
  }

  /// Names an opaque object by the SHA-256 of the client's key bytes.
  package init(opaque hash: ChunkHash) {
    self.kind = .opaque
    self.variant = 0
    self.hash = hash
    self.layout = .none
    self.part = .none
  }

  /// Takes 64 bytes from `reader`.
  ///
  /// - Throws: a fault that names `kind`, `variant`, `layoutID` or the part's field at fault.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    let rawKind: UInt8 = try reader.take("kind")
    guard let kind = Kind(rawValue: rawKind) else {
      throw FieldFault("kind", value: UInt64(rawKind), limit: 2, "no such kind of key")
    }
    self.kind = kind
    try reader.takeReserved(count: 3)
    variant = try reader.take("variant")
    hash = try ChunkHash(from: &reader)
    layout = try LayoutID(from: &reader)
    part = try Part(from: &reader)
    try check()
  }

  private func check() throws(FieldFault) {
    switch kind {
    case .layout:
      guard part.layerCount > 0 else {
        throw FieldFault("layerCount", value: 0, limit: 1, "a layout object has layers")
      }
      guard part.kvHeadCount > 0 else {
        throw FieldFault("kvHeadCount", value: 0, limit: 1, "a layout object has heads")
      }
    case .opaque:
      guard variant == 0 else {
        throw FieldFault("variant", value: UInt64(variant), limit: 0, "opaque objects have none")
      }
      guard layout == .none else {
        throw FieldFault("layoutID", value: 1, limit: 0, "opaque objects have none")
      }
      guard part == .none else {
        throw FieldFault("part", value: 1, limit: 0, "opaque objects have none")
      }
    }
  }

  /// Appends the 64 bytes to `writer`.
  package func write(to writer: inout ByteWriter) {
    writer.put(kind.rawValue)
    writer.putZeros(3)
    writer.put(variant)
    hash.write(to: &writer)
    layout.write(to: &writer)
    part.write(to: &writer)
  }
}
