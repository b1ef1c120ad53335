internal import KDNCore
internal import KDNMemory

/// The chunks of a blend's documents, readable as long as this lives.
package final class BlendSources: Sendable {
  /// An object of a chunk.
  final class Held: Sendable {
    let object: StoredObject
    private let lease: ReadLease

    init(_ lease: consuming ReadLease) {
      object = lease.object
      self.lease = lease
    }

    /// Whether the bytes are what their checksum says.
    var isWhole: Bool { lease.lease.block.checksum == lease.checksum }

    func withBytes(_ body: (RawSpan) -> Void) { lease.lease.withBytes(body) }

    /// XXH3-64 of the bytes.
    var checksum: Checksum { lease.checksum }

    /// Length of the bytes.
    var byteCount: Int { lease.lease.block.byteCount }

    /// The bytes.
    var body: StoredBody { StoredBody(lease.lease.block, form: nil, checksum: lease.checksum) }

    /// The same object with other bytes.
    func holding(_ body: StoredBody) -> Held { Held(ReadLease(object, body)) }
  }

  /// One chunk of a piece: how its layers are put together, and of what.
  struct Chunk: Sendable {
    let cover: BlendCover
    /// Objects in the order of `cover.parts`.
    let objects: [Held]
    let tokens: Int
  }

  private let order: BlendOrder
  private let geometry: LayoutGeometry
  private let places: [BlendLayer: Int]
  /// Chunks that have kept tokens by number, for each piece.
  private let chunks: [[Int: Chunk]]

  init(_ order: BlendOrder, _ geometry: LayoutGeometry, _ chunks: [[Int: Chunk]]) {
    self.order = order
    self.geometry = geometry
    self.chunks = chunks
    places = Dictionary(
      order.layers.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// A layer of one object of a chunk: `[K, V][kvHead][token][dim]`.
  package struct Slice: Sendable {
    /// Tokens of the chunk.
    package let tokens: Int
    /// Heads that the bytes have.
    package let heldHeads: Range<Int>
    /// Those of them that are to be used.
    package let heads: Range<Int>
    fileprivate let range: Range<Int>
    fileprivate let held: Held

    /// Lends the bytes.
    package func withBytes(_ body: (RawSpan) -> Void) {
      held.withBytes { body($0.extracting(range)) }
    }
  }

  /// The slices of a layer of one chunk with kept tokens, each with other heads; together they have
  /// all.
  package func slices(of layer: BlendLayer, ofChunk number: Int, piece: Int) -> [Slice] {
    guard let chunk = chunks[piece][number], let place = places[layer] else {
      preconditionFailure("a chunk or layer that was not asked for")
    }
    return chunk.cover.slices[place].map { slice in
      let part = chunk.cover.parts[slice.part]
      let own = Part(
        firstLayer: UInt16(layer.number), layerCount: 1, firstKVHead: part.firstKVHead,
        kvHeadCount: part.kvHeadCount)
      // Checked when the chunk was stored: each object has the length of its part.
      guard let range = try? geometry.ranges(of: own, in: part, tokens: chunk.tokens).first else {
        preconditionFailure("a part that does not fit its layout")
      }
      return Slice(
        tokens: chunk.tokens, heldHeads: part.kvHeads, heads: slice.heads, range: range,
        held: chunk.objects[slice.part])
    }
  }
}
