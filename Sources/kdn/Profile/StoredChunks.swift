internal import KDNClient
internal import KDNControl
internal import KDNCore
internal import KDNProfile
internal import KDNWire

/// What a running daemon has of a layout: listed at its HTTP endpoint, fetched over the protocol.
struct StoredChunks {
  /// Most objects that are listed.
  private static let objectCountMax = 1_000_000

  let admin: AdminClient
  let client: Client
  let namespace: String
  let layout: LayoutID
  let part: Part

  private struct Item {
    let key: ObjectKey
    let firstToken: UInt64
    let tokenCount: Int
  }

  /// Gives chunks to `body`, with the bytes done and those of all.
  ///
  /// Every chunk there is, or as many as have `tokensMax` tokens, evenly spread over the list. What
  /// is gone meanwhile is left out.
  ///
  /// - Throws: what the endpoint, the connection and `body` throw.
  func chunks(
    tokensMax: Int, bytesPerToken: Int,
    _ body: (KVChunk, _ done: Int, _ total: Int) throws -> Void
  ) throws {
    let listed = try list()
    let items = ChunkChoice.spread(listed.map(\.tokenCount), tokensMax: tokensMax).map {
      listed[$0]
    }
    let total = items.reduce(0) { $0 + $1.tokenCount * bytesPerToken }
    var done = 0
    for item in items {
      let capacity = item.tokenCount * bytesPerToken
      // What is kept lossily would teach the profile its own losses.
      let (result, bytes) = try client.get(item.key, capacity: capacity, flags: .exact)
      done += capacity
      guard result.miss == nil, bytes.count == capacity else { continue }
      let chunk = KVChunk(
        bytes: bytes, firstToken: item.firstToken, tokenCount: item.tokenCount)
      try body(chunk, done, total)
    }
  }

  private func list() throws -> [Item] {
    let layoutText = "\(layout)"
    let partText = ChunkChoice.text(of: part)
    var items: [Item] = []
    var cursor: String?
    repeat {
      var path = "/objects?namespace=\(namespace)&limit=\(ObjectQuery.limitMax)"
      if let cursor { path += "&cursor=\(cursor)" }
      let page = try admin.get(path, as: ObjectPage.self)
      for object in page.objects
      where object.layout == layoutText && object.part == partText && object.variant == 0 {
        let key = ObjectKey(
          hash: try Hexadecimal.chunkHash(object.hash), layout: layout, part: part)
        items.append(
          Item(
            key: key, firstToken: UInt64(clamping: object.firstToken), tokenCount: object.tokens))
      }
      cursor = page.next
    } while cursor != nil && items.count < Self.objectCountMax
    return items
  }
}
