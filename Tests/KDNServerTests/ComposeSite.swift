import Foundation
import KDNClient
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

/// A server with documents of bf16 keys and values, and the arithmetic of a blend on its own.
struct ComposeSite: ServerTesting {
  static let chunkTokens = 32
  static let heads = 2
  static let dims = 16
  static let theta = 10_000.0
  let server: Server
  let client: Client
  let layout: Layout
  let id: LayoutID

  init(_ server: Server) throws {
    self.server = server
    client = Client(try Connection(server.endpoints[0], namespace: NamespaceName("default")))
    layout = try Self.layout()
    id = try client.register(layout).layout
  }

  static func layout(
    type: ElementType = .bf16, keys: RoPE.StoredKeys = .afterRotation
  ) throws -> Layout {
    let rope = RoPE(theta: theta, keys: keys, rotaryDims: UInt16(dims))
    return try Layout(
      elementType: type,
      groups: [
        LayoutGroup(
          kind: .attention(kvHeads: UInt16(heads), headDim: UInt16(dims)), layers: [0, 1, 2],
          rope: rope)
      ])
  }

  var whole: Part { Part(firstLayer: 0, layerCount: 3, firstKVHead: 0, kvHeadCount: 2) }

  /// Parts of two tensor-parallel ranks.
  var halves: [Part] {
    [0, 1].map { Part(firstLayer: 0, layerCount: 3, firstKVHead: $0, kvHeadCount: 1) }
  }

  /// The element of a document at one place, as bf16.
  static func element(
    _ document: Int, layer: Int, half: Int, head: Int, token: Int, dim: Int
  ) -> UInt16 {
    var state = UInt64(document * 7919 + layer * 104_729 + half * 1_299_709 + head * 15_485_863)
    state = (state &+ UInt64(token * 32_452_843 + dim * 49_979_687)) &* 0x9E37_79B9_7F4A_7C15
    state ^= state >> 29
    let value = Float(Int32(truncatingIfNeeded: state &* 0xBF58_476D_1CE4_E5B9 >> 32)) / 0x1p30
    return UInt16(truncatingIfNeeded: value.bitPattern >> 16)
  }

  func hashes(_ document: Int, tokens: Int) throws -> [ChunkHash] {
    try HashChain.hashes(
      root: HashChain.documentRoot(model: "test"),
      tokens: (0..<tokens).map { UInt32(document * 100_000 + $0) }, chunkTokens: Self.chunkTokens,
      includingTail: true)
  }

  /// The bytes of a chunk's part.
  static func bytes(_ document: Int, tokens: Range<Int>, _ part: Part) -> [UInt8] {
    var bytes: [UInt8] = []
    for layer in part.layers {
      for half in 0..<2 {
        for head in part.kvHeads {
          for token in tokens {
            for dim in 0..<dims {
              put(
                element(
                  document, layer: layer, half: half, head: head, token: token, dim: dim),
                &bytes)
            }
          }
        }
      }
    }
    return bytes
  }

  private static func put(_ element: UInt16, _ bytes: inout [UInt8]) {
    bytes.append(UInt8(truncatingIfNeeded: element))
    bytes.append(UInt8(truncatingIfNeeded: element >> 8))
  }

  /// Stores a document's chunks and publishes it; gives its epoch.
  @discardableResult
  func learn(
    _ document: Int, tokens: Int, parts: [Part]? = nil,
    durability: PutBeginRequest.Durability = .ram, name: String? = nil, layout: LayoutID? = nil,
    stores: Bool = true
  ) throws -> UInt64 {
    let hashes = try hashes(document, tokens: tokens)
    for (index, hash) in hashes.enumerated() where stores {
      let start = index * Self.chunkTokens
      let range = start..<min(tokens, start + Self.chunkTokens)
      for part in parts ?? [whole] {
        let bytes = Self.bytes(document, tokens: range, part)
        let facts = PutBeginRequest(
          key: ObjectKey(hash: hash, layout: layout ?? id, part: part),
          parent: index == 0 ? .none : hashes[index - 1], totalBytes: bytes.count,
          firstToken: UInt32(start), tokenCount: UInt32(range.count), durability: durability)
        _ = try client.put(facts, bytes: bytes)
      }
    }
    let document = try Document(
      name: name ?? "document \(document)", layout: layout ?? id, tokenCount: tokens,
      chunkTokens: Self.chunkTokens, hashes: hashes)
    let answer = try client.connection.request(
      .document(.publish(document)), deadlineMilliseconds: 0)
    guard case .document(.published(let epoch)) = answer else { throw Unexpected() }
    return epoch
  }

  /// Stores what a settling made of a document's chunks: here the bytes of another document.
  func settle(_ document: Int, tokens: Int, by settling: ChunkHash, as other: Int) throws {
    for (index, hash) in try hashes(document, tokens: tokens).enumerated() {
      let start = index * Self.chunkTokens
      let range = start..<min(tokens, start + Self.chunkTokens)
      let bytes = Self.bytes(other, tokens: range, whole)
      let facts = PutBeginRequest(
        key: ObjectKey(hash: HashChain.settled(hash, by: settling), layout: id, part: whole),
        parent: hash, totalBytes: bytes.count, firstToken: UInt32(start),
        tokenCount: UInt32(range.count))
      _ = try client.put(facts, bytes: bytes)
    }
  }

  struct Unexpected: Error {}

  /// Adds an edit to a document.
  func edit(_ name: String, _ operation: EditOperation) throws {
    let answer = try client.connection.request(
      .edit(.add(name: name, epoch: 0, operation)), deadlineMilliseconds: 0)
    guard case .edit(.added) = answer else { throw Unexpected() }
  }

  func compose(
    _ documents: [Int], slots: [Int] = [], epochs: [UInt64] = [], firstPosition: Int = 0,
    flags: ComposeRequest.Flags = [.dropFirst, .edits], permille: Int = 0,
    forbidden: [String] = [], settling: ChunkHash? = nil, layout: LayoutID? = nil,
    over client: Client? = nil
  ) throws -> ComposeResponse {
    let pieces = documents.enumerated().map { index, document in
      ComposeRequest.Piece(
        name: "document \(document)", epoch: index < epochs.count ? epochs[index] : 0,
        slot: index < slots.count ? slots[index] : 0)
    }
    let request = ComposeRequest(
      layout: layout ?? id, pieces: pieces, flags: flags, firstPosition: firstPosition,
      recomputePermille: permille, forbidden: forbidden, settling: settling)
    let answer = try (client ?? self.client).connection.request(
      .compose(request), deadlineMilliseconds: 0)
    guard case .compose(let response) = answer else { throw Unexpected() }
    return response
  }

  func key(_ response: ComposeResponse, layer: Int) -> ObjectKey {
    ObjectKey(
      hash: response.hash, layout: id,
      part: Part(
        firstLayer: UInt16(layer), layerCount: 1, firstKVHead: 0, kvHeadCount: UInt16(Self.heads)),
      variant: 1)
  }

  /// The bytes of a layer once they are there; nil for a miss.
  func layer(_ layer: Int, of response: ComposeResponse) throws -> [UInt8]? {
    var room = [UInt8](repeating: 0, count: response.byteCount / 3)
    let items = [GetRequest.Item(key: key(response, layer: layer))]
    let results = try room.withUnsafeMutableBytes {
      try client.connection.get(items, into: [$0], terms: GetTerms(flags: .wait))
    }
    guard case .hit(let bytes, _, _) = results.first, bytes == room.count else { return nil }
    return room
  }

  /// What a layer must hold, by the definition: keys turned by where their document begins.
  func expected(
    _ response: ComposeResponse, _ documents: [Int], layer: Int,
    keyScale: (Int, Int) -> Float = { _, _ in 1 }
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    for half in 0..<2 {
      for head in 0..<Self.heads {
        for (piece, document) in zip(response.pieces, documents) {
          let dropped = Set(piece.dropped.ranges.joined())
          for token in 0..<piece.tokenCount where !dropped.contains(token) {
            var row = (0..<Self.dims).map { dim in
              Self.element(
                document, layer: layer, half: half, head: head, token: token, dim: dim)
            }
            if half == 0 {
              row = Self.moved(row, by: piece.firstPosition, scale: keyScale(document, token))
            }
            for element in row { Self.put(element, &bytes) }
          }
        }
      }
    }
    return bytes
  }

  private static func moved(_ row: [UInt16], by distance: Int, scale: Float) -> [UInt16] {
    guard distance != 0 || scale != 1 else { return row }
    var x = row.map { Float(bitPattern: UInt32($0) << 16) }
    func round(_ value: Float) -> UInt32 {
      let bits = value.bitPattern
      return (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16
    }
    // Edits come first, and what they make is kept as elements of the type.
    if scale != 1 { x = x.map { Float(bitPattern: round($0 * scale) << 16) } }
    if distance != 0 {
      for pair in 0..<dims / 2 {
        let angle = Double(distance) * pow(theta, -Double(2 * pair) / Double(dims))
        let (c, s) = (Float(cos(angle)), Float(sin(angle)))
        let (a, b) = (x[pair], x[pair + dims / 2])
        x[pair] = a * c - b * s
        x[pair + dims / 2] = b * c + a * s
      }
    }
    return x.map { UInt16(round($0)) }
  }

  /// Compares all layers with what they must hold.
  func check(
    _ response: ComposeResponse, _ documents: [Int],
    keyScale: (Int, Int) -> Float = { _, _ in 1 }
  ) throws {
    for layer in 0..<3 {
      #expect(
        try self.layer(layer, of: response)
          == expected(response, documents, layer: layer, keyScale: keyScale),
        "layer \(layer)")
    }
  }

  /// The refusal that `body` throws.
  func refusal(_ body: () throws -> Void) -> (status: Status, field: String, value: UInt64)? {
    guard case .refused(let status, let error) = failure(body) else { return nil }
    return (status, error.field, error.value)
  }
}
