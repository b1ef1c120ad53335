package import KDNCore
package import KDNPool

/// The codecs that a namespace's objects are kept in; nil where it says nothing.
package struct KeptCodecs: Hashable, Sendable {
  /// Of layout objects in RAM that nobody has used for a while; raw: they stay as they are.
  package var ram: PayloadCodec?
  /// Of layout objects on disk.
  package var disk: PayloadCodec?
  /// Of opaque objects, on disk and, unused for a while, in RAM.
  package var opaque: PayloadCodec?

  /// Says nothing.
  package static let none = KeptCodecs()

  /// Puts the codecs together.
  package init(
    ram: PayloadCodec? = nil, disk: PayloadCodec? = nil, opaque: PayloadCodec? = nil
  ) {
    self.ram = ram
    self.disk = disk
    self.opaque = opaque
  }
}

/// Which objects are kept encoded, and what that may cost.
package struct CodecSettings: Sendable, Equatable {
  /// For namespaces that say nothing of their own.
  package var kept: KeptCodecs
  /// For how long nobody must have used an object before it is encoded in RAM.
  package var idleSecondsMin: Int
  /// Most processor time of encoding, in percent of one core.
  package var processorPercent: Int
  /// What the configuration says of the development namespace.
  package var development: KeptCodecs

  /// What the pool is to do; namespaces of `snapshot` that say something go first.
  ///
  /// A codec that needs a profile is only asked for in namespaces that have one in use, as `ready`
  /// tells: what cannot be encoded would not be tried again.
  package func policy(
    _ snapshot: TenantSnapshot, ready: [NamespaceName: Set<PayloadCodec>] = [:]
  ) -> EncodingPolicy {
    var policy = EncodingPolicy()
    for tenant in snapshot.tenants.values.sorted(by: { $0.name.text < $1.name.text }) {
      policy.rules += rules(tenant.codecs, of: tenant.name)
    }
    if let name = snapshot.development, snapshot.tenants[name] == nil {
      policy.rules += rules(development, of: name)
    }
    for name in ready.keys.sorted(by: { $0.text < $1.text }) {
      policy.rules += rules(kept, of: name)
    }
    policy.rules += rules(kept, of: nil)
    policy.rules.removeAll { rule in
      guard let codec = PayloadCodec(rawValue: rule.codec), codec.needsProfile else {
        return rule.namespace == nil && rule.codec == 0
      }
      return !(rule.namespace.flatMap { ready[$0] } ?? []).contains(codec)
    }
    return policy
  }

  private func rules(_ kept: KeptCodecs, of name: NamespaceName?) -> [EncodingPolicy.Rule] {
    let wanted: [(PayloadCodec?, ObjectKey.Kind, CodingTier)] = [
      (kept.ram, .layout, .ram), (kept.disk, .layout, .disk), (kept.opaque, .opaque, .ram),
      (kept.opaque, .opaque, .disk),
    ]
    return wanted.compactMap { codec, kind, tier in
      codec.map {
        EncodingPolicy.Rule(
          namespace: name, kind: kind, tier: tier,
          idleSecondsMin: tier == .ram ? idleSecondsMin : 0, codec: $0.rawValue)
      }
    }
  }
}

extension KeptCodecs {
  /// What layout objects may be kept in, by name.
  static let layoutCodecs: [String: PayloadCodec] = [
    "off": .raw, "exact": .exact, "high": .high, "balanced": .balanced, "small": .small,
    "archive": .archive,
  ]
  /// What opaque objects may be kept in, by name.
  static let opaqueCodecs: [String: PayloadCodec] = ["off": .raw, "zstd": .zstd, "lz4": .lz4]

  /// Reads `ram=small disk=archive opaque=zstd`, any of them.
  ///
  /// - Throws: a fault that names `field`: an unknown name or codec, one twice, or none.
  init(parsing words: some Sequence<Substring>, field: String) throws(FieldFault) {
    self.init()
    for word in words {
      let halves = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard halves.count == 2 else {
        throw FieldFault(field, value: word.utf8.count, limit: 0, "'\(word)' is not TIER=CODEC")
      }
      try set(String(halves[0]), String(halves[1]), field: field)
    }
    guard self != .none else { throw FieldFault(field, value: 0, limit: 1, "no codec is named") }
  }

  /// Reads what a file says of each; nil where it says nothing.
  ///
  /// - Throws: a fault that names `field` for an unknown codec.
  init(ram: String?, disk: String?, opaque: String?, field: String) throws(FieldFault) {
    self.init()
    if let ram { try set("ram", ram, field: field) }
    if let disk { try set("disk", disk, field: field) }
    if let opaque { try set("opaque", opaque, field: field) }
  }

  private mutating func set(_ name: String, _ text: String, field: String) throws(FieldFault) {
    let paths: [String: WritableKeyPath<KeptCodecs, PayloadCodec?>] = [
      "ram": \.ram, "disk": \.disk, "opaque": \.opaque,
    ]
    guard let path = paths[name] else {
      throw FieldFault(
        field, value: name.utf8.count, limit: 0, "'\(name)' is none of ram, disk, opaque")
    }
    let codecs = name == "opaque" ? Self.opaqueCodecs : Self.layoutCodecs
    guard let codec = codecs[text] else {
      let names = codecs.keys.sorted().joined(separator: ", ")
      throw FieldFault(
        field, value: text.utf8.count, limit: 0, "\(name): '\(text)' is none of \(names)")
    }
    guard self[keyPath: path] == nil else {
      throw FieldFault(field, value: 2, limit: 1, "'\(name)' stands there twice")
    }
    self[keyPath: path] = codec
  }
}

extension PayloadCodec {
  /// Whether encoding needs what was learned of the model.
  var needsProfile: Bool { self == .balanced || self == .small || self == .archive }
  /// What configuration calls it.
  var settingName: String { self == .raw ? "off" : name }
}
