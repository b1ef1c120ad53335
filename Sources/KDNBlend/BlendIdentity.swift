package import KDNCore

/// All that decides the bytes of an assembled blend; its hash is the blend's name.
package struct BlendIdentity: Hashable, Sendable {
  /// What decides the bytes of one document's part.
  package struct Piece: Hashable, Sendable {
    /// The hash of its last chunk, which stands for all tokens before it.
    package let lastHash: ChunkHash
    /// Tokens of the document.
    package let tokenCount: Int
    /// Positions that it takes.
    package let width: Int
    /// The hash of its edits; that of an empty recipe if they are not applied.
    package let recipe: ChunkHash

    /// Describes a document's part.
    package init(lastHash: ChunkHash, tokenCount: Int, width: Int, recipe: ChunkHash) {
      self.lastHash = lastHash
      self.tokenCount = tokenCount
      self.width = width
      self.recipe = recipe
    }
  }

  /// The layout of all documents.
  package let layout: LayoutID
  /// Whether later documents lose their first token.
  package let dropFirst: Bool
  /// Position of the first document.
  package let firstPosition: Int
  /// The documents, in order.
  package let pieces: [Piece]
  /// The settling of which documents but the first are read; nil: as they were computed alone.
  package let settling: ChunkHash?

  private static let domain = "kdn/1/blend"

  /// Gathers what decides a blend.
  package init(
    layout: LayoutID, dropFirst: Bool, firstPosition: Int, pieces: [Piece],
    settling: ChunkHash? = nil
  ) {
    self.layout = layout
    self.settling = settling
    self.dropFirst = dropFirst
    self.firstPosition = firstPosition
    self.pieces = pieces
  }

  /// SHA-256 of the canonical encoding.
  package var hash: ChunkHash { HashChain.opaque(canonicalEncoding) }

  /// `kdn/1/blend`; 16-byte layout id; u8 dropFirst; u32 firstPosition; u32 count; for each
  /// document 32-byte hash of its last chunk, u32 tokenCount, u32 positions, 32-byte hash of its
  /// recipe; at last the settling's 32 bytes, if there is one.
  package var canonicalEncoding: [UInt8] {
    var writer = ByteWriter(capacity: 64 + pieces.count * 72)
    writer.put(contentsOf: Self.domain.utf8)
    layout.write(to: &writer)
    writer.put(UInt8(dropFirst ? 1 : 0))
    writer.put(UInt32(firstPosition))
    writer.put(UInt32(pieces.count))
    for piece in pieces {
      piece.lastHash.write(to: &writer)
      writer.put(UInt32(piece.tokenCount))
      writer.put(UInt32(piece.width))
      piece.recipe.write(to: &writer)
    }
    settling?.write(to: &writer)
    return writer.bytes
  }
}
