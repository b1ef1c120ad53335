/// Which documents of a namespace may not be used: names, or beginnings of names.
package struct AccessRules: Hashable, Sendable {
  /// The rules in the order of their bytes, each once: a document's whole name, or with `*` at the
  /// end the beginning of names.
  package let denied: [String]

  /// Nothing is denied.
  package static let none = AccessRules(unchecked: [])
  /// Most rules of a namespace.
  package static let countMax = 1024
  /// Longest rule, in bytes of UTF-8: a name and the `*`.
  package static let ruleBytesMax = Document.nameBytesMax + 1

  private init(unchecked denied: [String]) { self.denied = denied }

  /// Checks rules and puts them in order.
  ///
  /// - Throws: a fault that names `denied` if there are too many of them, or `name` if one is
  ///   empty, too long or has control characters.
  package init(denied: some Sequence<String>) throws(FieldFault) {
    var known: Set<[UInt8]> = []
    var rules: [String] = []
    for rule in denied {
      let name = Self.isBeginning(rule) ? String(rule.unicodeScalars.dropLast()) : rule
      // `*` alone denies all.
      if rule != "*" { _ = try Document.checked(name) }
      if known.insert(Array(rule.utf8)).inserted { rules.append(rule) }
    }
    guard rules.count <= Self.countMax else {
      throw FieldFault("denied", value: rules.count, limit: Self.countMax, "too many rules")
    }
    self.denied = rules.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// The same with more rules, and without others, which need not be there.
  ///
  /// - Throws: as `init(denied:)` does.
  package func changed(
    denying: [String], allowing: [String]
  ) throws(FieldFault) -> AccessRules {
    let allowed = Set(allowing.map { Array($0.utf8) })
    return try AccessRules(
      denied: (denied + denying).filter { !allowed.contains(Array($0.utf8)) })
  }

  /// The rule that keeps a document from being used, the first of several; nil if it may be used.
  ///
  /// Names are compared byte for byte.
  package func rule(denying name: String) -> String? {
    denied.first { rule in
      guard Self.isBeginning(rule) else { return rule.utf8.elementsEqual(name.utf8) }
      return name.utf8.starts(with: rule.utf8.dropLast())
    }
  }

  private static func isBeginning(_ rule: String) -> Bool {
    rule.utf8.last == UInt8(ascii: "*")
  }
}
