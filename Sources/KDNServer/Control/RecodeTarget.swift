internal import KDNControl
internal import KDNCore
internal import KDNPool

/// What an administrator wants to be kept in another codec, checked.
struct RecodeTarget: Sendable {
  let codec: PayloadCodec
  let order: RecodingOrder
  /// Which objects, in words.
  let scope: String

  /// `ram`, `disk` or both.
  var tierNames: [String] {
    [("ram", CodingTier.ram), ("disk", .disk)].filter { order.tiers.contains($0.1) }.map(\.0)
  }

  /// Reads an order that names at most `namesMax` things, of a daemon with or without a disk tier.
  ///
  /// - Throws: `bad_request` for what says nothing that can be done, `not_found` if nothing of what
  ///   is named is here, `busy` while the disk tier does not know yet all that it holds.
  init(
    _ wanted: RecodeOrder, in namespace: Namespace, of pool: Pool, hasDisk: Bool, namesMax: Int
  ) throws(ControlFault) {
    codec = try Self.codec(wanted.codec)
    let tiers = try Self.tiers(wanted.tiers, hasDisk: hasDisk)
    guard pool.isTierReady else {
      throw ControlFault(.busy, "what is on disk is still being found out")
    }
    let kind = codec.kind
    let isAll = wanted.all ?? false
    let named = [
      isAll, wanted.layouts != nil, wanted.document != nil, wanted.hashes != nil,
    ]
    guard named.count(where: { $0 }) == 1 else {
      throw ControlFault(
        .badRequest, field: "all", "exactly one of all, layouts, document and hashes belongs here")
    }
    let isOfLayouts = wanted.layouts != nil || wanted.document != nil
    guard !isOfLayouts || kind != .opaque else {
      throw ControlFault(
        .badRequest, field: "codec", "'\(codec.name)' is for objects without a layout")
    }
    let objects: RecodingOrder.Scope
    if let texts = wanted.layouts {
      let layouts = try HexadecimalNames.layouts(texts, field: "layouts", countMax: namesMax)
      objects = .layouts(Set(layouts))
      scope = "\(layouts.count) layouts"
    } else if let name = wanted.document {
      objects = .keys(try Self.keys(ofDocument: name, in: namespace, pool))
      scope = "a document"
    } else if let texts = wanted.hashes {
      let hashes = try HexadecimalNames.hashes(texts, field: "hashes", countMax: namesMax)
      let keys = pool.keys(of: hashes, in: namespace)
      guard keys.contains(where: { kind == nil || $0.kind == kind }) else {
        throw ControlFault(
          .notFound, field: "hashes", "nothing that '\(codec.name)' is for is here by these names")
      }
      objects = .keys(keys)
      scope = "\(hashes.count) hashes"
    } else {
      objects = .all
      scope = "all"
    }
    order = RecodingOrder(
      objects, kind: kind, tiers: tiers, codec: codec.rawValue, isTrial: wanted.dryRun ?? false)
  }

  private static func codec(_ name: String) throws(ControlFault) -> PayloadCodec {
    guard let codec = PayloadCodec.allCases.first(where: { $0.name == name }) else {
      let names = PayloadCodec.allCases.map(\.name).joined(separator: ", ")
      throw ControlFault(.badRequest, field: "codec", "no such codec; there are \(names)")
    }
    return codec
  }

  private static func tiers(
    _ names: [String]?, hasDisk: Bool
  ) throws(ControlFault) -> Set<CodingTier> {
    guard let names else { return [.ram, .disk] }
    var tiers: Set<CodingTier> = []
    for name in names {
      switch name {
      case "ram": tiers.insert(.ram)
      case "disk": tiers.insert(.disk)
      default: throw ControlFault(.badRequest, field: "tiers", "must be of ram and disk")
      }
    }
    guard !tiers.isEmpty else {
      throw ControlFault(.badRequest, field: "tiers", "must not be empty")
    }
    guard hasDisk || tiers.contains(.ram) else {
      throw ControlFault(.unavailable, field: "tiers", "there is no disk tier")
    }
    return tiers
  }

  private static func keys(
    ofDocument name: String, in namespace: Namespace, _ pool: Pool
  ) throws(ControlFault) -> [ObjectKey] {
    guard let document = pool.resolve(document: name, in: namespace)?.document.document else {
      throw ControlFault(.notFound, field: "document", "nothing has this name")
    }
    let keys = pool.keys(of: document.hashes, in: namespace).filter {
      $0.kind == .layout && $0.layout == document.layout
    }
    guard !keys.isEmpty else {
      throw ControlFault(.notFound, field: "document", "none of its chunks is here")
    }
    return keys
  }
}
