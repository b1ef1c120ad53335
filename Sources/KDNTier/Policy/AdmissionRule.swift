package import KDNCore

/// The admission policies by the names that the configuration gives them.
package enum AdmissionRule: String, Sendable, CaseIterable {
  /// `AdmitAll`.
  case all
  /// `SecondHit`.
  case secondHit = "second_hit"
  /// `OnlyWanted`.
  case wanted

  /// Reads `all`, `second_hit` or `wanted`.
  ///
  /// - Throws: a fault that names `field` if `text` is none of them.
  package init(parsing text: String, field: String) throws(FieldFault) {
    guard let rule = AdmissionRule(rawValue: text) else {
      throw FieldFault(
        field, value: text.utf8.count, limit: Self.allCases.count,
        "'\(text)' is not an admission rule; use all, second_hit or wanted")
    }
    self = rule
  }

  /// The policy of this name.
  package var policy: any AdmissionPolicy {
    switch self {
    case .all: AdmitAll()
    case .secondHit: SecondHit()
    case .wanted: OnlyWanted()
    }
  }
}
