import KDNCore
import KDNMemory
import KDNTier

@testable import KDNPool

/// A pool that blends documents of bytes which tell where they come from, when the test says so.
struct BlendFixture {
  /// Copies rows, and does nothing to them.
  struct Copying: LayerWriter {
    let pieces: [BlendOrder.Piece]

    func write(
      _ layer: BlendLayer, from sources: BlendSources, into bytes: inout MutableRawSpan
    ) {
      let rows = pieces.reduce(0) { $0 + $1.kept.reduce(0) { $0 + $1.count } }
      let width = layer.planeBytesPerToken
      var row = 0
      for (number, piece) in pieces.enumerated() {
        let chunkTokens = piece.document.document.chunkTokens
        for token in piece.kept.joined() {
          let inChunk = token % chunkTokens
          let chunk = token / chunkTokens
          for slice in sources.slices(of: layer, ofChunk: chunk, piece: number) {
            slice.withBytes { source in
              for head in slice.heads {
                for half in 0..<2 {
                  let plane = half * slice.heldHeads.count + head - slice.heldHeads.lowerBound
                  let from = (plane * slice.tokens + inChunk) * width
                  let to = ((half * layer.kvHeads + head) * rows + row) * width
                  for byte in 0..<width {
                    let value = source.unsafeLoad(fromByteOffset: from + byte, as: UInt8.self)
                    bytes.storeBytes(of: value, toByteOffset: to + byte, as: UInt8.self)
                  }
                }
              }
            }
          }
          row += 1
        }
      }
    }
  }

  static let chunkTokens = 16
  static let heads = 2
  static let width = 16
  let fixture: Fixture
  let layout: Layout
  let executor = ManualExecutor()

  var pool: Pool { fixture.pool }
  var statistics: BlendStatistics { pool.blendStatistics }

  /// Three layers of two heads, 192 bytes a token.
  init(
    kibibytes: Int = 256, tier: ScriptedTier? = nil, stagingKibibytes: Int = 0,
    settings: BlendSettings = BlendSettings()
  ) throws {
    fixture = try Fixture(
      kibibytes: kibibytes, tier: tier, stagingKibibytes: stagingKibibytes)
    layout = try Layout(
      elementType: .i8,
      groups: [
        LayoutGroup(
          kind: .attention(kvHeads: UInt16(Self.heads), headDim: UInt16(Self.width)),
          layers: [0, 1, 2])
      ])
    _ = try fixture.pool.register(layout, in: fixture.tenant)
    fixture.pool.startBlending(executor, settings: settings)
  }

  var whole: Part { Part(firstLayer: 0, layerCount: 3, firstKVHead: 0, kvHeadCount: 2) }

  func key(_ document: Int, _ chunk: Int, _ part: Part? = nil) -> ObjectKey {
    ObjectKey(
      hash: fixture.hash(document * 100 + chunk), layout: layout.id, part: part ?? whole)
  }

  /// The byte of a document at one place.
  static func byte(
    _ document: Int, layer: Int, half: Int, head: Int, token: Int, dim: Int
  ) -> UInt8 {
    UInt8(truncatingIfNeeded: document * 101 + layer * 59 + half * 31 + head * 17 + token * 7 + dim)
  }

  /// The bytes of a chunk's part, in canonical order.
  func bytes(_ document: Int, _ chunk: Int, tokens: Int, _ part: Part) -> [UInt8] {
    var bytes: [UInt8] = []
    for layer in part.layers {
      for half in 0..<2 {
        for head in part.kvHeads {
          for token in 0..<tokens {
            for dim in 0..<Self.width {
              bytes.append(
                Self.byte(
                  document, layer: layer, half: half, head: head,
                  token: chunk * Self.chunkTokens + token, dim: dim))
            }
          }
        }
      }
    }
    return bytes
  }

  static func chunks(of tokens: Int) -> [Int] {
    (0..<(tokens + chunkTokens - 1) / chunkTokens).map {
      min(chunkTokens, tokens - $0 * chunkTokens)
    }
  }

  /// Stores a document's chunks in these parts, unless told not to, and publishes it.
  @discardableResult
  func learn(
    _ document: Int, tokens: Int, parts: [Part]? = nil, stores: Bool = true
  ) throws -> PublishedDocument {
    let chunks = Self.chunks(of: tokens)
    for (chunk, count) in chunks.enumerated() where stores {
      for part in parts ?? [whole] { try store(document, chunk, tokens: count, part) }
    }
    return try pool.publish(
      Document(
        name: "document \(document)", layout: layout.id, tokenCount: tokens,
        chunkTokens: Self.chunkTokens, hashes: chunks.indices.map { key(document, $0).hash }),
      in: fixture.tenant)
  }

  func store(_ document: Int, _ chunk: Int, tokens: Int, _ part: Part) throws {
    let bytes = bytes(document, chunk, tokens: tokens, part)
    let facts = StoreFacts(
      key: key(document, chunk, part),
      parent: chunk == 0 ? .none : key(document, chunk - 1).hash, byteCount: bytes.count,
      firstToken: chunk * Self.chunkTokens, tokenCount: tokens)
    guard case .reserved(let room) = try pool.reserve(facts, in: fixture.tenant) else { return }
    room.memory.write(bytes)
    _ = try pool.publish(room, facts, checksum: Checksum(of: bytes), in: fixture.tenant)
  }

  /// Puts a document's chunks into the slower tier only.
  func putBelow(_ document: Int, tokens: Int, parts: [Part]? = nil, in tier: ScriptedTier) {
    for (chunk, count) in Self.chunks(of: tokens).enumerated() {
      for part in parts ?? [whole] {
        let bytes = bytes(document, chunk, tokens: count, part)
        tier.put(
          ObjectFacts(
            namespace: fixture.tenant.name, generation: 0, key: key(document, chunk, part),
            parent: .none, byteCount: bytes.count, checksum: Checksum(of: bytes),
            firstToken: 0, tokenCount: count, recomputeMicroseconds: 0, storedAtMilliseconds: 0,
            ttlMilliseconds: 0),
          bytes: bytes)
      }
    }
  }

  func order(
    _ documents: [PublishedDocument], kept: [[Range<Int>]]? = nil, name: String = "blend"
  ) throws -> BlendOrder {
    let pieces = documents.enumerated().map { index, document in
      BlendOrder.Piece(
        document, kept: kept?[index] ?? [0..<document.document.tokenCount])
    }
    return BlendOrder(
      hash: HashChain.opaque(Array(name.utf8)), layout: layout.id,
      layers: try BlendLayer.layers(of: layout), pieces: pieces, writer: Copying(pieces: pieces))
  }

  /// Orders a blend; the box holds nil until the answer.
  func compose(_ order: BlendOrder, in namespace: Namespace? = nil) -> Box<Answer?> {
    let box = Box<Answer?>(nil)
    pool.compose(order, in: namespace ?? fixture.tenant) { result in
      switch result {
      case .success: box.set(.begun)
      case .failure(let refusal): box.set(.refused(refusal))
      }
    }
    return box
  }

  enum Answer: Equatable, Sendable {
    case begun
    case refused(BlendRefusal)
  }

  /// What a layer's object must hold.
  func expected(_ order: BlendOrder, layer: Int, numbers: [Int]) -> [UInt8] {
    var bytes: [UInt8] = []
    for half in 0..<2 {
      for head in 0..<Self.heads {
        for (piece, number) in zip(order.pieces, numbers) {
          for token in piece.kept.joined() {
            for dim in 0..<Self.width {
              bytes.append(
                Self.byte(number, layer: layer, half: half, head: head, token: token, dim: dim))
            }
          }
        }
      }
    }
    return bytes
  }

  /// The bytes of a blend's layer, or why there are none.
  func layer(_ number: Int, of order: BlendOrder) -> Result<[UInt8], LayerMiss> {
    switch pool.lookup(order.key(of: order.layers[number]), in: fixture.tenant) {
    case .hit(let hit): .success(hit.lease.copied())
    case .miss(let cause): .failure(LayerMiss(cause: cause))
    }
  }

  struct LayerMiss: Error, Equatable {
    let cause: MissCause
  }

  /// Layers of a blend that are there.
  func present(_ order: BlendOrder) -> [Int] {
    order.layers.indices.filter {
      pool.contains(order.key(of: order.layers[$0]), in: fixture.tenant)
    }
  }
}
