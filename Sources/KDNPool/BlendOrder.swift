package import KDNCore

/// A blend to be assembled: which rows of which documents, and who writes them.
package struct BlendOrder: Sendable {
  /// The form of assembled KV in the key of a layer.
  package static let variant: UInt32 = 1

  /// One document in a blend.
  package struct Piece: Sendable {
    /// The document as it was published.
    package let document: PublishedDocument
    /// Its tokens that are kept: ascending, disjoint, inside the document.
    package let kept: [Range<Int>]
    /// The hash under which each of its chunks is read: another than the document's own if it is
    /// read in another form.
    package let sources: [ChunkHash]
    /// What edits make of its chunks before rows are taken of them; nil: they are as stored.
    package let form: EditedForm?

    /// Puts a piece together, of the document's own chunks or of as many `sources`.
    package init(
      _ document: PublishedDocument, kept: [Range<Int>], sources: [ChunkHash]? = nil,
      form: EditedForm? = nil
    ) {
      let own = document.document.hashes
      precondition(sources == nil || sources?.count == own.count, "a source for each chunk")
      self.document = document
      self.kept = kept
      self.sources = sources ?? own
      self.form = form
    }

    /// Numbers of the chunks that have kept tokens.
    var chunks: Set<Int> {
      let chunkTokens = document.document.chunkTokens
      return kept.reduce(into: []) { chunks, range in
        chunks.formUnion(range.lowerBound / chunkTokens...(range.upperBound - 1) / chunkTokens)
      }
    }
  }

  /// Names the blend: all that decides its bytes goes into it.
  package let hash: ChunkHash
  /// The layout of all documents and of the blend.
  package let layout: LayoutID
  /// The layers to be assembled, in the order of their numbers.
  package let layers: [BlendLayer]
  /// The documents, in order.
  package let pieces: [Piece]
  /// Writes the layers.
  package let writer: any LayerWriter

  /// Puts an order together.
  package init(
    hash: ChunkHash, layout: LayoutID, layers: [BlendLayer], pieces: [Piece],
    writer: any LayerWriter
  ) {
    self.hash = hash
    self.layout = layout
    self.layers = layers
    self.pieces = pieces
    self.writer = writer
  }

  /// Tokens of the assembled KV.
  package var rowCount: Int {
    pieces.reduce(0) { $0 + $1.kept.reduce(0) { $0 + $1.count } }
  }

  /// Bytes of the assembled KV over all layers.
  package var byteCount: Int {
    let rows = rowCount
    return layers.reduce(0) { $0 + $1.byteCount(rows: rows) }
  }

  /// The key of a layer's object.
  package func key(of layer: BlendLayer) -> ObjectKey {
    ObjectKey(hash: hash, layout: layout, part: layer.part, variant: Self.variant)
  }
}

/// Writes layers of one blend; called on several threads at once.
package protocol LayerWriter: Sendable {
  /// Writes all bytes of a layer, which are `layer.byteCount(rows:)`.
  func write(_ layer: BlendLayer, from sources: BlendSources, into bytes: inout MutableRawSpan)
}

/// Why a blend is not assembled; pieces are told by their number.
package enum BlendRefusal: Error, Equatable, Sendable {
  /// A chunk of the piece can be had from no tier.
  case missing(piece: Int, MissCause)
  /// So many blends are under way, which is the limit.
  case busy(FieldFault)
  /// What edits make of a chunk of the piece cannot be made, now or ever.
  case unedited(piece: Int, isForNow: Bool)
  /// No room for the blend, or its layout is not here.
  case pool(PoolRefusal)
  /// It was given up while others waited for it too.
  case cancelled(MissCause)
}
