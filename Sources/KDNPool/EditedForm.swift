package import KDNCore

/// Multiplies, in the bytes of a chunk, what the edits of one document say.
package protocol ChunkEditor: Sendable {
  /// Whether edits multiply anything in these tokens of the document.
  func changes(_ tokens: Range<Int>) -> Bool
  /// Fills `edited` with an object of the chunk of these tokens, as long as `source`, which is the
  /// object as it was stored: `[layer][K, V][kvHead][token][dim]` of the part.
  func edit(
    _ source: RawSpan, of part: Part, tokens: Range<Int>, into edited: inout MutableRawSpan)
}

/// What edits make of the chunks of a document before rows are taken of them.
///
/// Strengths come first, each product rounded to the elements' type; then what encoding as a class
/// and decoding gives. Where the class does not make an object smaller it is left as it is.
package struct EditedForm: Sendable {
  /// Variants of edited chunks have numbers from here on.
  package static let variantMin: UInt32 = 1 << 31
  private static let domain = "kdn/1/edited"

  /// The hash of the recipe.
  package let recipe: ChunkHash
  /// The number of the class that chunks are delivered as; 0: none.
  package let codec: UInt8
  /// What applies strengths.
  package let editor: any ChunkEditor
  /// The profile that the class would take now.
  package internal(set) var profile = CodecProfileUse.notNeeded

  /// Puts a form together.
  package init(recipe: ChunkHash, codec: UInt8, editor: any ChunkEditor) {
    self.recipe = recipe
    self.codec = codec
    self.editor = editor
  }

  /// The hash in the keys of a chunk that is kept as it is delivered.
  func hash(of chunk: ChunkHash) -> ChunkHash {
    var writer = ByteWriter(capacity: 80)
    writer.put(contentsOf: Self.domain.utf8)
    chunk.write(to: &writer)
    recipe.write(to: &writer)
    return HashChain.opaque(writer.bytes)
  }

  /// The key under which an object is kept as it is delivered, if its bytes have this checksum.
  ///
  /// The variant's number tells by which profile, and of which bytes it was made: an object may be
  /// in a lossy form, and then its bytes are others.
  func key(of base: ObjectKey, source: Checksum) -> ObjectKey {
    var writer = ByteWriter(capacity: 64)
    writer.put(contentsOf: Self.domain.utf8)
    profile.hash.write(to: &writer)
    writer.put(source.value)
    let digest = HashChain.opaque(writer.bytes).bytes
    let number = digest.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    return ObjectKey(
      hash: hash(of: base.hash), layout: base.layout, part: base.part,
      variant: number | Self.variantMin)
  }

  /// Whether a chunk of these tokens is another one than what was stored.
  func changes(_ tokens: Range<Int>) -> Bool { codec != 0 || editor.changes(tokens) }
}

extension ObjectKey {
  /// Whether it names a chunk that is kept as it is delivered.
  var isEdited: Bool { kind == .layout && variant >= EditedForm.variantMin }
}

extension Document {
  /// The tokens of a chunk.
  func tokens(ofChunk number: Int) -> Range<Int> {
    let start = number * chunkTokens
    return start..<min(tokenCount, start + chunkTokens)
  }
}

/// Tells what a document's edits make of its chunks.
package protocol DocumentFormer: Sendable {
  /// Nil if they leave its chunks as they are, or cannot be applied to this layout.
  func form(of document: PublishedDocument, _ geometry: LayoutGeometry) -> EditedForm?
}

/// The profile that a class would take now for a layout.
package enum CodecProfileUse: Hashable, Sendable {
  /// The class needs none.
  case notNeeded
  /// None that the class could take is in use.
  case missing
  /// The one of this SHA-256.
  case inUse(ChunkHash)

  /// The hash of the profile; `ChunkHash.none` if none is used.
  package var hash: ChunkHash {
    if case .inUse(let hash) = self { hash } else { .none }
  }
}
