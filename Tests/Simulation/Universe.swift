import KDNCore

/// The keys that a simulation uses: chains of chunks in two parts and two variants, and opaque
/// objects, each with its own length.
struct Universe {
  static let chainCount = 16
  static let chunksPerChain = 12
  static let opaqueCount = 24

  let layout: Layout
  let layoutID: LayoutID
  let parts = [
    Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1),
    Part(firstLayer: 1, layerCount: 1, firstKVHead: 0, kvHeadCount: 1),
  ]

  init() throws {
    layout = try Layout(
      elementType: .i8,
      groups: [LayoutGroup(kind: .opaque(bytesPerToken: 512), layers: [0, 1])])
    layoutID = layout.id
  }

  func hash(chain: Int, chunk: Int) -> ChunkHash {
    // The first two chunks are shared by four chains each: a tree, not only lists.
    let branch = chunk < 2 ? chain / 4 * 4 : chain
    return HashChain.opaque([1, UInt8(branch), UInt8(chunk)])
  }

  /// The true facts of a layout object.
  func facts(chain: Int, chunk: Int, part: Int, variant: UInt32) -> StoreShape {
    let shared = chunk < 2 ? chain / 4 * 4 : chain
    let tokens = 4 + (shared * 7 + chunk * 3 + part) % 60
    return StoreShape(
      key: ObjectKey(
        hash: hash(chain: chain, chunk: chunk), layout: layoutID, part: parts[part],
        variant: variant),
      parent: chunk == 0 ? .none : hash(chain: chain, chunk: chunk - 1),
      byteCount: tokens * 512, firstToken: chunk * 64, tokenCount: tokens)
  }

  func opaque(_ number: Int) -> StoreShape {
    StoreShape(
      key: ObjectKey(opaque: HashChain.opaque([2, UInt8(number)])), parent: .none,
      // The last ones need a slab of their own, made of several.
      byteCount: number < 21 ? 700 + number * 3331 : (number - 20) * 1_200_000,
      firstToken: 0, tokenCount: 0)
  }

  /// Any of the keys; some far more often than others, so that writers meet.
  func shape(_ random: inout RandomSource) -> StoreShape {
    if random.isOne(in: 6) {
      return facts(chain: 0, chunk: random.number(below: 8), part: 0, variant: 0)
    }
    if random.isOne(in: 10) { return opaque(random.number(below: Self.opaqueCount)) }
    return facts(
      chain: random.number(below: Self.chainCount),
      chunk: random.number(below: Self.chunksPerChain), part: random.number(below: 2),
      variant: random.isOne(in: 5) ? 1 : 0)
  }

  /// All of the keys.
  var allKeys: [ObjectKey] {
    var keys = (0..<Self.opaqueCount).map { opaque($0).key }
    for chain in 0..<Self.chainCount {
      for chunk in 0..<Self.chunksPerChain where chunk >= 2 || chain % 4 == 0 {
        for part in 0..<2 {
          for variant: UInt32 in 0..<2 {
            keys.append(facts(chain: chain, chunk: chunk, part: part, variant: variant).key)
          }
        }
      }
    }
    return keys
  }
}

/// What belongs to a key for ever.
struct StoreShape {
  let key: ObjectKey
  let parent: ChunkHash
  let byteCount: Int
  let firstToken: Int
  let tokenCount: Int
}
