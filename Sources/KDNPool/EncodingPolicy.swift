package import KDNCore

/// Where an object's bytes are kept.
package enum CodingTier: Sendable {
  case ram
  case disk
}

/// What a policy knows of an object.
package struct EncodingSubject: Sendable {
  /// The tenant.
  package let namespace: NamespaceName
  /// Whether it is an object of a layout or an opaque one.
  package let kind: ObjectKey.Kind
  /// Where it is, or goes.
  package let tier: CodingTier
  /// Length in bytes, as it was stored.
  package let byteCount: Int
  /// For how long nobody has used it.
  package let idleSeconds: Int
}

/// Which objects are kept in which form; pure, without clock or I/O.
///
/// As it is made, none is encoded.
package struct EncodingPolicy: Sendable, Equatable {
  /// What is kept in one form.
  package struct Rule: Sendable, Equatable {
    /// The tenant; nil for all.
    package var namespace: NamespaceName?
    /// The kind of object; nil for both.
    package var kind: ObjectKey.Kind?
    /// Where it is kept.
    package var tier: CodingTier
    /// For how long nobody must have used it; of no matter on the way to the disk.
    package var idleSecondsMin: Int
    /// The number of the codec's class; 0: stays as it was stored.
    package var codec: UInt8

    /// Puts the rule together.
    package init(
      namespace: NamespaceName? = nil, kind: ObjectKey.Kind? = nil, tier: CodingTier,
      idleSecondsMin: Int = 0, codec: UInt8
    ) {
      self.namespace = namespace
      self.kind = kind
      self.tier = tier
      self.idleSecondsMin = idleSecondsMin
      self.codec = codec
    }
  }

  /// The first that fits counts.
  package var rules: [Rule] = []
  /// Smaller objects stay as they are.
  package var byteCountMin = 4096
  /// From which use on an exact form that has to be decoded for a reader is replaced in RAM by what
  /// was decoded; nil: never.
  package var keepsDecodedFromUse: UInt64?

  /// A policy that encodes nothing.
  package static let off = EncodingPolicy()

  /// Creates a policy that encodes nothing.
  package init() {}

  /// The codec for an object that is kept as it was stored; nil: it stays so.
  package func codec(for subject: EncodingSubject) -> UInt8? {
    guard subject.byteCount >= byteCountMin else { return nil }
    let rule = rules.first { rule in
      rule.tier == subject.tier
        && (rule.namespace == nil || rule.namespace == subject.namespace)
        && (rule.kind == nil || rule.kind == subject.kind)
        && (subject.tier == .disk || subject.idleSeconds >= rule.idleSecondsMin)
    }
    return rule.flatMap { $0.codec == 0 ? nil : $0.codec }
  }

  /// Whether there is anything to do in RAM.
  var concernsRAM: Bool { rules.contains { $0.tier == .ram && $0.codec != 0 } }
}
