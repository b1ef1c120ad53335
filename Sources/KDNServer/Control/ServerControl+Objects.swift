package import KDNControl
internal import KDNCore
internal import KDNPool

extension ServerControl {
  /// A page may be shorter than asked for, even empty, although there is a next one.
  package func objects(_ query: ObjectQuery) throws(ControlFault) -> ObjectPage {
    guard (1...ObjectQuery.limitMax).contains(query.limit) else {
      throw ControlFault(
        .badRequest, field: "limit", "must be 1 to \(ObjectQuery.limitMax), not \(query.limit)")
    }
    let namespace = try self.namespace(query.namespace)
    do {
      let listing = try context.pool.objects(
        in: namespace, after: query.cursor, limit: query.limit)
      return ObjectPage(
        objects: listing.objects.map { ObjectPage.Item($0) }, next: listing.next)
    } catch {
      throw ControlFault(error)
    }
  }
}

extension ObjectPage.Item {
  fileprivate init(_ item: ObjectListing.Item) {
    let key = item.key
    let isLayout = key.kind == .layout
    self.init(
      hash: "\(key.hash)", kind: isLayout ? "layout" : "opaque",
      layout: isLayout ? "\(key.layout)" : "", part: isLayout ? Self.text(of: key.part) : "",
      variant: key.variant, bytes: item.byteCount, tokens: item.tokenCount,
      firstToken: item.firstToken, uses: item.uses,
      tiers: (item.isInRAM ? ["ram"] : []) + (item.isOnDisk ? ["disk"] : []),
      isPinned: item.isPinned, ttlMilliseconds: item.ttlMilliseconds)
  }

  /// First and last layer, first and last head.
  private static func text(of part: Part) -> String {
    "layers \(part.layers.lowerBound)-\(part.layers.upperBound - 1), "
      + "heads \(part.kvHeads.lowerBound)-\(part.kvHeads.upperBound - 1)"
  }
}
