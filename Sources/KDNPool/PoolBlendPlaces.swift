internal import KDNCore
internal import KDNTier

/// Where the chunks of a blend are.
struct BlendPlaces: Sendable {
  struct Chunk: Sendable {
    let cover: BlendCover
    /// Keys in the order of the cover's parts.
    let keys: [ObjectKey]
    /// Its tokens in the document.
    let tokens: Range<Int>
    /// What edits make of it; nil: it is as stored.
    let form: EditedForm?
  }

  /// All objects that are read, none twice.
  private(set) var keys: [ObjectKey] = []
  /// For each of `keys` the number of the first piece that reads it.
  private(set) var pieces: [Int] = []
  /// Chunks with kept tokens by number, for each piece.
  private(set) var chunks: [[Int: Chunk]] = []
  private var known: Set<ObjectKey> = []

  /// How many objects are read.
  var count: Int { keys.count }

  mutating func beginPiece() { chunks.append([:]) }

  mutating func add(_ chunk: Chunk, number: Int) {
    let piece = chunks.count - 1
    chunks[piece][number] = chunk
    for key in chunk.keys where known.insert(key).inserted {
      keys.append(key)
      pieces.append(piece)
    }
  }
}

extension Pool {
  /// Finds, for each chunk with kept tokens, objects of either tier that together have all layers
  /// and heads; RAM alone where it has them all.
  ///
  /// What is kept as edits make it is taken in the place of what it was made of, if `takesKept`.
  ///
  /// - Throws: `missing` for the first chunk of which a layer or head is in neither.
  func places(of blend: Blend, takesKept: Bool) throws(BlendRefusal) -> BlendPlaces {
    let (order, now) = (blend.order, clock.now())
    var found = BlendPlaces()
    var covers: [[Part]: BlendCover?] = [:]
    func cover(of parts: [Part]) -> BlendCover? {
      if let known = covers[parts] { return known }
      let made = BlendCover(order.layers, among: parts)
      covers[parts] = made
      return made
    }
    for (piece, entry) in order.pieces.enumerated() {
      found.beginPiece()
      for number in entry.chunks.sorted() {
        let hash = entry.sources[number]
        let inRAM = partsInRAM(of: hash, order.layout, blend.namespace, now: now)
        let cover =
          cover(of: inRAM)
          ?? cover(of: inRAM + partsBelow(of: hash, order.layout, blend.namespace))
        guard let cover else {
          throw .missing(piece: piece, missCause(of: hash, order, blend.namespace, now: now))
        }
        let tokens = entry.document.document.tokens(ofChunk: number)
        let form = entry.form.flatMap { $0.changes(tokens) ? $0 : nil }
        let keys = cover.parts.map { part in
          let key = ObjectKey(hash: hash, layout: order.layout, part: part, variant: 0)
          guard takesKept, let form else { return key }
          return keptKey(of: key, form, in: blend.namespace) ?? key
        }
        found.add(
          BlendPlaces.Chunk(cover: cover, keys: keys, tokens: tokens, form: form), number: number)
      }
    }
    return found
  }

  private func partsInRAM(
    of hash: ChunkHash, _ layout: LayoutID, _ namespace: Namespace, now: Instant
  ) -> [Part] {
    let place = ChunkPlace(hash, in: namespace.number)
    let objects = stripe(of: place).withLock { $0.table.all(at: place) }
    return objects.filter {
      $0.key.kind == .layout && $0.key.layout == layout && $0.key.variant == 0
        && $0.isLive(at: now)
    }.map(\.key.part).sorted(by: Self.precedes)
  }

  private func partsBelow(
    of hash: ChunkHash, _ layout: LayoutID, _ namespace: Namespace
  ) -> [Part] {
    guard let backing, !backing.isClosing else { return [] }
    return backing.tier.keys(of: [hash], in: namespace.name).filter {
      $0.kind == .layout && $0.layout == layout && $0.variant == 0
        && backing.held($0, in: namespace) != nil
    }.map(\.part).sorted(by: Self.precedes)
  }

  /// Larger parts first, then by place: the same objects give the same choice.
  private static func precedes(_ a: Part, _ b: Part) -> Bool {
    let (sizeA, sizeB) = (a.layers.count * a.kvHeads.count, b.layers.count * b.kvHeads.count)
    guard sizeA == sizeB else { return sizeA > sizeB }
    return (a.firstLayer, a.firstKVHead, a.layerCount) < (b.firstLayer, b.firstKVHead, b.layerCount)
  }

  /// Why a chunk cannot be had whole.
  private func missCause(
    of hash: ChunkHash, _ order: BlendOrder, _ namespace: Namespace, now: Instant
  ) -> MissCause {
    guard let whole = namespace.geometry(of: order.layout)?.whole ?? order.layers.first?.part
    else { return .wrongLayout }
    let key = ObjectKey(hash: hash, layout: order.layout, part: whole, variant: 0)
    let place = ChunkPlace(hash, in: namespace.number)
    let cause = stripe(of: place).withLock { $0.missCause(key, at: place, now: now) }
    return backing?.missCause(key, in: namespace, inRAM: cause) ?? cause
  }
}
