internal import KDNBlend
internal import KDNCodec
internal import KDNCore
internal import KDNPool

/// Tells the pool what the edits of a document make of its chunks.
struct RecipeFormer: DocumentFormer {
  func form(of document: PublishedDocument, _ geometry: LayoutGeometry) -> EditedForm? {
    let operations = document.edits.map(\.operation)
    guard
      let recipe = try? EditRecipe(operations, tokenCount: document.document.tokenCount),
      recipe.changesChunks, let editor = StrengthEditor(recipe, geometry)
    else { return nil }
    return EditedForm(
      recipe: recipe.hash, codec: recipe.codec?.rawValue ?? 0, editor: editor)
  }
}

/// Multiplies keys and values of runs of tokens, each product rounded to the elements' type.
struct StrengthEditor: ChunkEditor {
  private let keys: [EditRecipe.Run]
  private let values: [EditRecipe.Run]
  private let layers: [BlendLayer]
  private let geometry: LayoutGeometry

  /// Nil for layers without keys and values, and elements whose scale is not known.
  init?(_ recipe: EditRecipe, _ geometry: LayoutGeometry) {
    guard let layers = try? Composer.layers(of: geometry.layout) else { return nil }
    (keys, values) = (recipe.keys, recipe.values)
    self.layers = layers
    self.geometry = geometry
  }

  func changes(_ tokens: Range<Int>) -> Bool {
    keys.contains { $0.tokens.overlaps(tokens) } || values.contains { $0.tokens.overlaps(tokens) }
  }

  func edit(
    _ source: RawSpan, of part: Part, tokens: Range<Int>, into edited: inout MutableRawSpan
  ) {
    copy(source, 0..<source.byteCount, 1, &edited)
    for layer in layers where part.layers.contains(layer.number) {
      let own = Part(
        firstLayer: UInt16(layer.number), layerCount: 1, firstKVHead: part.firstKVHead,
        kvHeadCount: part.kvHeadCount)
      // Checked when the chunk was stored.
      guard
        let range = try? geometry.ranges(of: own, in: part, tokens: tokens.count).first
      else { preconditionFailure("a part that does not fit its layout") }
      let width = layer.planeBytesPerToken
      for (half, runs) in [keys, values].enumerated() {
        for run in runs where run.tokens.overlaps(tokens) {
          let inside = run.tokens.clamped(to: tokens)
          for head in 0..<part.kvHeads.count {
            let plane = (half * part.kvHeads.count + head) * tokens.count
            let start = range.lowerBound + (plane + inside.lowerBound - tokens.lowerBound) * width
            copy(source, start..<start + inside.count * width, run.strength, &edited)
          }
        }
      }
    }
  }

  /// Copies bytes to the same place, their elements multiplied.
  private func copy(
    _ source: RawSpan, _ range: Range<Int>, _ strength: Float, _ edited: inout MutableRawSpan
  ) {
    let type = geometry.layout.elementType
    do {
      try RowMove.move(
        source.extracting(range), into: &edited, at: range.lowerBound, dims: 1, type: type,
        rotation: .idle, scale: strength)
    } catch {
      preconditionFailure("a range inside the object is moved: \(error)")
    }
  }
}
