internal import KDNCore

extension ProfileLearner {
  /// Pieces of a chunk by which it is known what is usual, at most.
  private static let referencePiecesPerChunk = 8

  /// The tokens to learn from: all that are no attention sinks.
  func tokens(of chunk: KVChunk) -> Range<Int> {
    let sinks = LearningOptions.sinkTokenCount
    let skipped = chunk.firstToken < sinks ? Int(sinks - chunk.firstToken) : 0
    return min(skipped, chunk.tokenCount)..<chunk.tokenCount
  }

  /// Whether all numbers of the planes are finite.
  func isFinite(_ chunk: KVChunk) -> Bool {
    planes.allSatisfy {
      FiniteCheck.holds(
        chunk.bytes, from: $0.bytesBefore * chunk.tokenCount,
        count: $0.channelCount * chunk.tokenCount, layout.elementType)
    }
  }

  /// Adds a chunk to the sums of all runs.
  mutating func learn(from chunk: KVChunk) throws(LearningFault) {
    reader.turn(to: chunk.firstToken, tokenCount: chunk.tokenCount)
    let tokens = tokens(of: chunk)
    for start in stride(
      from: tokens.lowerBound, to: tokens.upperBound, by: MemoryPlan.pieceTokens)
    {
      let piece = start..<min(start + MemoryPlan.pieceTokens, tokens.upperBound)
      for index in runs.indices {
        makeRoom(piece.count * runs[index].channelCount)
        reader.read(runs[index], of: chunk, tokens: piece, into: &rows)
        if try !moments[index].add(&rows, count: piece.count, algebra) {
          report.brokenPieceCount += 1
        }
      }
    }
  }

  /// Finds out what is usual from the chunks that were held back, and learns from them.
  mutating func release() throws(LearningFault) {
    let references = references()
    moments = zip(runs, references).map { run, reference in
      let width = run.channelCount
      guard run.wantsBasis else { return RunMoments(reference, scatter: nil) }
      guard let kept = plan.kept else {
        return RunMoments(reference, scatter: Scatter(width: width))
      }
      let sketch = ScatterSketch(kept: min(kept, width), width: width)
      return RunMoments(reference, scatter: Scatter(sketch, width: width))
    }
    let chunks = held
    held = []
    heldBytes = 0
    for chunk in chunks { try learn(from: chunk) }
  }

  /// What is usual in each run, plane by plane, so that little room is needed.
  private mutating func references() -> [RunReference] {
    var ofPlanes: [RunReference] = []
    for run in runs {
      for plane in run.planes {
        ofPlanes.append(reference(of: PlaneRun(planes: [plane], wantsBasis: false)))
      }
    }
    var first = 0
    return runs.map { run in
      defer { first += run.planes.count }
      return RunReference(joining: ofPlanes[first..<first + run.planes.count])
    }
  }

  private mutating func reference(of plane: PlaneRun) -> RunReference {
    let width = plane.channelCount
    var pieces: [ArraySlice<Float>] = []
    for chunk in held {
      reader.turn(to: chunk.firstToken, tokenCount: chunk.tokenCount)
      let tokens = tokens(of: chunk)
      let count = (tokens.count + RunReference.pieceTokens - 1) / RunReference.pieceTokens
      let every = (count + Self.referencePiecesPerChunk - 1) / Self.referencePiecesPerChunk
      for piece in stride(from: 0, to: count, by: every) {
        let start = tokens.lowerBound + piece * RunReference.pieceTokens
        let range = start..<min(start + RunReference.pieceTokens, tokens.upperBound)
        var rows = [Float](repeating: 0, count: range.count * width)
        reader.read(plane, of: chunk, tokens: range, into: &rows)
        pieces.append(rows[...])
      }
    }
    return RunReference(pieces, width: width)
  }

  private mutating func makeRoom(_ count: Int) {
    guard rows.count < count else { return }
    rows = [Float](repeating: 0, count: count)
  }
}
