internal import KDNBlend
internal import KDNCodec
internal import KDNCore
internal import KDNPool

/// Writes the layers of one blend: gathers rows of all documents, as edits made them, and turns
/// keys to their new positions.
struct BlendWriter: LayerWriter {
  /// One document in a blend.
  struct Piece: Sendable {
    /// Tokens of each chunk but the last.
    let chunkTokens: Int
    /// What is copied, in the order of the tokens.
    let runs: [RowRun]
    /// How keys are turned in each group of the layout.
    let rotations: [KeyRotation]
  }

  /// Neighbouring tokens of one chunk.
  private struct ChunkRun: Sendable {
    /// Tokens in the chunk.
    let tokens: Range<Int>
    /// Row of the first.
    let row: Int
  }

  /// All that is taken of one chunk.
  private struct ChunkRuns: Sendable {
    let piece: Int
    let chunk: Int
    var runs: [ChunkRun] = []
  }

  private let type: ElementType
  private let rowCount: Int
  private let chunks: [ChunkRuns]
  private let rotations: [[KeyRotation]]

  init(_ type: ElementType, rowCount: Int, pieces: [Piece]) {
    self.type = type
    self.rowCount = rowCount
    rotations = pieces.map(\.rotations)
    chunks = pieces.enumerated().flatMap { Self.chunks(of: $1, number: $0) }
  }

  /// Cuts a piece's runs where chunks end.
  private static func chunks(of piece: Piece, number: Int) -> [ChunkRuns] {
    var chunks: [ChunkRuns] = []
    for run in piece.runs {
      var start = run.tokens.lowerBound
      while start < run.tokens.upperBound {
        let chunk = start / piece.chunkTokens
        let first = chunk * piece.chunkTokens
        let end = min(run.tokens.upperBound, first + piece.chunkTokens)
        if chunks.last?.chunk != chunk { chunks.append(ChunkRuns(piece: number, chunk: chunk)) }
        chunks[chunks.count - 1].runs.append(
          ChunkRun(
            tokens: start - first..<end - first,
            row: run.firstRow + start - run.tokens.lowerBound))
        start = end
      }
    }
    return chunks
  }

  func write(
    _ layer: BlendLayer, from sources: BlendSources, into bytes: inout MutableRawSpan
  ) {
    for chunk in chunks {
      let rotation = rotations[chunk.piece][layer.group]
      for slice in sources.slices(of: layer, ofChunk: chunk.chunk, piece: chunk.piece) {
        slice.withBytes { source in
          for head in slice.heads {
            let plane = head - slice.heldHeads.lowerBound
            for run in chunk.runs {
              move(
                run, layer, source, slice.tokens, plane: plane, to: head, rotation,
                &bytes)
              move(
                run, layer, source, slice.tokens, plane: slice.heldHeads.count + plane,
                to: layer.kvHeads + head, .idle, &bytes)
            }
          }
        }
      }
    }
  }

  /// Moves one run from a plane of a chunk of so many tokens to a plane of the layer.
  private func move(
    _ run: ChunkRun, _ layer: BlendLayer, _ source: RawSpan, _ chunkTokens: Int, plane: Int,
    to target: Int, _ rotation: KeyRotation, _ bytes: inout MutableRawSpan
  ) {
    let width = layer.planeBytesPerToken
    let from = (plane * chunkTokens + run.tokens.lowerBound) * width
    let to = (target * rowCount + run.row) * width
    let count = run.tokens.count * width
    do {
      try RowMove.move(
        source.extracting(from..<from + count), into: &bytes, at: to,
        dims: width / type.byteCount, type: type, rotation: rotation, scale: 1)
    } catch {
      preconditionFailure("shapes that were checked do not agree: \(error)")
    }
  }
}
