package import KDNCore
internal import KDNMemory
package import KDNTier

/// A form in which one of the tiers keeps an object.
package struct KeptForm: Equatable, Sendable {
  /// Where it is.
  package let tier: CodingTier
  /// The form; nil: as it was stored.
  package let form: StoredForm?
  /// Length in this form, in bytes.
  package let byteCount: Int
  /// Whether these bytes are, or decode to, the very ones that were stored.
  package let isExact: Bool
  /// Whether it could be given raw.
  package let isDecodable: Bool
}

/// The forms that there are of an object.
package struct KeptForms: Equatable, Sendable {
  /// Length in bytes, as it was stored.
  package let byteCount: Int
  /// How many tokens; 0 for an opaque object, and for one that only the slower tier has if its
  /// bytes do not tell.
  package let tokenCount: Int
  /// The one in RAM first, then the one in the slower tier where that is another; at least one.
  package let forms: [KeptForm]

  /// Whether RAM has it.
  package var isInRAM: Bool { forms.first?.tier == .ram }
}

extension Pool {
  /// The forms in which an object could be had; nil if it is in neither tier.
  ///
  /// Not a use.
  package func forms(of key: ObjectKey, in namespace: Namespace) -> KeptForms? {
    let object = live(key, in: namespace, now: clock.now())
    let held = backing.flatMap { $0.isClosing ? nil : $0.held(key, in: namespace) }
    guard let object else { return held.map { formsBelow($0, key, namespace) } }
    let body = object.body
    var forms = [
      KeptForm(
        tier: .ram, form: body.form, byteCount: body.block.byteCount,
        isExact: body.isExact(of: object.checksum), isDecodable: canDecode(body.form))
    ]
    if let held, object.holds(held.checksum, held.byteCount), held.form != body.form {
      forms.append(keptForm(held))
    }
    return KeptForms(byteCount: object.byteCount, tokenCount: object.tokenCount, forms: forms)
  }

  private func formsBelow(
    _ held: HeldFacts, _ key: ObjectKey, _ namespace: Namespace
  ) -> KeptForms {
    let tokenBytes =
      key.kind == .layout && key.variant == 0
      ? (try? namespace.geometry(of: key.layout)?.byteCount(of: key.part, tokens: 1)) ?? 0 : 0
    return KeptForms(
      byteCount: held.byteCount, tokenCount: tokenBytes > 0 ? held.byteCount / tokenBytes : 0,
      forms: [keptForm(held)])
  }

  private func keptForm(_ held: HeldFacts) -> KeptForm {
    KeptForm(
      tier: .disk, form: held.form, byteCount: held.storedBytes,
      isExact: held.form?.isExact(of: held.checksum) ?? true,
      isDecodable: canDecode(held.form))
  }

  /// Whether a fetch is to read an object that RAM has from the slower tier, in the form that it
  /// has there: because it is asked to, or because RAM has lost what only an exact form tells.
  func isWantedBelow(
    _ hold: Fetch.Hold, _ terms: FetchTerms, _ namespace: Namespace
  ) -> Bool {
    let (object, body) = (hold.object, hold.body)
    let isAsked = terms.below.contains(object.key)
    guard isAsked || terms.isExact && !body.isExact(of: object.checksum),
      let backing, !backing.isClosing, let held = backing.held(object.key, in: namespace),
      object.holds(held.checksum, held.byteCount), held.form != body.form,
      terms.accepted.contains(held.form) || canDecode(held.form)
    else { return false }
    return isAsked || held.form?.isExact(of: held.checksum) ?? true
  }
}

/// What a reader takes, and from where.
package struct FetchTerms: Sendable {
  /// Forms that it takes; others are decoded for it.
  package var accepted: CodecSet
  /// Whether it has no use for a lossy form: what RAM has so is read from the slower tier, if that
  /// has it exact.
  package var isExact: Bool
  /// Objects that are read from the slower tier though RAM has them in another form; where that
  /// fails RAM's form is taken.
  package var below: Set<ObjectKey>

  /// Puts the terms together.
  package init(
    accepting accepted: CodecSet = .raw, isExact: Bool = false, below: Set<ObjectKey> = []
  ) {
    self.accepted = accepted
    self.isExact = isExact
    self.below = below
  }
}
