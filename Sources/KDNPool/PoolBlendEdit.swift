internal import KDNCore

/// Chunks of a blend as the edits of its documents make them.
extension Pool {
  /// Puts together what was gathered, and edits on this thread what is not kept as delivered.
  func chunks(
    of found: BlendPlaces, _ held: [ObjectKey: BlendSources.Held], _ blend: Blend,
    _ blending: Blending
  ) -> Result<[[Int: BlendSources.Chunk]], BlendRefusal> {
    /// A document may come twice, and two documents may share chunks and not their edits.
    struct Name: Hashable {
      let key: ObjectKey
      let recipe: ChunkHash
    }
    var edited: [Name: BlendSources.Held] = [:]
    var kept = 0
    var chunks: [[Int: BlendSources.Chunk]] = []
    for (piece, row) in found.chunks.enumerated() {
      var made: [Int: BlendSources.Chunk] = [:]
      for (number, chunk) in row {
        var objects: [BlendSources.Held] = []
        for key in chunk.keys {
          guard let source = held[key] else { continue }
          guard let form = chunk.form, !key.isEdited else {
            objects.append(source)
            if chunk.form != nil { kept += 1 }
            continue
          }
          let name = Name(key: key, recipe: form.recipe)
          if let known = edited[name] {
            objects.append(known)
            continue
          }
          let step = EditStep(
            form: form, key: key, tokens: chunk.tokens, namespace: blend.namespace)
          switch blend.phase == .preparing ? deliver(source, step) : .failure(.withoutRoom) {
          case .success(let object):
            edited[name] = object
            objects.append(object)
          case .failure(let fault): return .failure(Self.refusal(fault, piece))
          }
        }
        made[number] = BlendSources.Chunk(
          cover: chunk.cover, objects: objects, tokens: chunk.tokens.count)
      }
      chunks.append(made)
    }
    let (editedCount, keptCount) = (UInt64(edited.count), UInt64(kept))
    if editedCount + keptCount > 0 {
      blending.table.withLock { table in
        table.count { counts in
          counts.edited += editedCount
          counts.editedKept += keptCount
        }
      }
    }
    return .success(chunks)
  }

  private static func refusal(_ fault: EditFault, _ piece: Int) -> BlendRefusal {
    switch fault {
    case .withoutRoom: .pool(.busy(retryAfterMilliseconds: 1000))
    case .withoutProfile: .unedited(piece: piece, isForNow: true)
    case .failed: .unedited(piece: piece, isForNow: false)
    }
  }
}
