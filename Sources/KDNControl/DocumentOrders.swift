/// Which document of which tenant.
package struct DocumentName: Codable, Sendable, Equatable {
  /// The tenant.
  package var namespace: String
  /// The name that stands for the text.
  package var name: String

  /// Puts the values together.
  package init(namespace: String, name: String) {
    self.namespace = namespace
    self.name = name
  }
}

/// A document that was forgotten.
package struct DocumentRetirement: Codable, Sendable, Equatable {
  /// The name that stood for the text.
  package var name: String
  /// The epoch that it had.
  package var epoch: UInt64

  /// Puts the values together.
  package init(name: String, epoch: UInt64) {
    self.name = name
    self.epoch = epoch
  }
}

/// Rules that are to hold in the place of all, or that are added and taken away.
package struct DocumentRulesOrder: Codable, Sendable, Equatable {
  /// The tenant.
  package var namespace: String
  /// All rules: names, or beginnings of names with `*` at their end; alone.
  package var denied: [String]?
  /// Rules to be added.
  package var deny: [String]?
  /// Rules to be taken away, which need not be there.
  package var allow: [String]?

  /// Puts the values together.
  package init(
    namespace: String, denied: [String]? = nil, deny: [String]? = nil, allow: [String]? = nil
  ) {
    self.namespace = namespace
    self.denied = denied
    self.deny = deny
    self.allow = allow
  }
}

/// The rules of one tenant.
package struct DocumentRules: Codable, Sendable, Equatable {
  /// The tenant.
  package var namespace: String
  /// Names of documents that may not be used, or beginnings of names with `*` at their end, in the
  /// order of their bytes.
  package var denied: [String]

  /// Puts the values together.
  package init(namespace: String, denied: [String]) {
    self.namespace = namespace
    self.denied = denied
  }
}

/// An operation to be added to a document.
package struct DocumentEditOrder: Codable, Sendable, Equatable {
  /// The tenant.
  package var namespace: String
  /// The document.
  package var name: String
  /// The publication that is meant; nil for whichever there is.
  package var epoch: UInt64?
  /// `scale_keys`, `scale_values`, `drop`, `keep` or `requantise`; `emphasise` and `suppress`
  /// scale keys by a strength of their own, unless one is given.
  package var operation: String
  /// What keys or values are multiplied by.
  package var strength: Double?
  /// First token and the token behind the last one, of each run; not for `keep`.
  package var spans: [[Int]]?
  /// A phrase of the document in the place of spans.
  package var text: String?
  /// Which occurrence of the phrase is meant, from 1; nil: the only one.
  package var occurrence: Int?
  /// Whether all occurrences of the phrase are meant.
  package var all: Bool?
  /// Thousandths of the tokens that `keep` keeps.
  package var permille: Int?
  /// For `keep`: one for each token, the highest are kept.
  package var scores: [Double]?
  /// For `requantise`: `high`, `balanced`, `small` or `archive`.
  package var codecClass: String?

  /// Puts the values together.
  package init(
    namespace: String, name: String, epoch: UInt64? = nil, operation: String,
    strength: Double? = nil, spans: [[Int]]? = nil, text: String? = nil, occurrence: Int? = nil,
    all: Bool? = nil, permille: Int? = nil, scores: [Double]? = nil, codecClass: String? = nil
  ) {
    self.namespace = namespace
    self.name = name
    self.epoch = epoch
    self.operation = operation
    self.strength = strength
    self.spans = spans
    self.text = text
    self.occurrence = occurrence
    self.all = all
    self.permille = permille
    self.scores = scores
    self.codecClass = codecClass
  }

  private enum CodingKeys: String, CodingKey {
    case namespace, name, epoch, operation, strength, spans, text, occurrence, all
    case permille, scores
    case codecClass = "class"
  }
}

/// The operations on one document.
package struct DocumentEdits: Codable, Sendable, Equatable {
  /// One operation, as it is kept: what `keep` was comes as `drop`.
  package struct Item: Codable, Sendable, Equatable {
    /// By which it is reverted.
    package var id: UInt64
    /// `scale_keys`, `scale_values`, `drop` or `requantise`.
    package var operation: String
    /// What keys or values are multiplied by; nil for `drop`.
    package var strength: Double?
    /// First token and the token behind the last one, of each run.
    package var spans: [[Int]]
    /// What `requantise` delivers the document as; nil for others.
    package var codecClass: String?

    /// Puts the values together.
    package init(
      id: UInt64, operation: String, strength: Double? = nil, spans: [[Int]],
      codecClass: String? = nil
    ) {
      self.id = id
      self.operation = operation
      self.strength = strength
      self.spans = spans
      self.codecClass = codecClass
    }

    private enum CodingKeys: String, CodingKey {
      case id, operation, strength, spans
      case codecClass = "class"
    }
  }

  /// The document.
  package var name: String
  /// Its publication.
  package var epoch: UInt64
  /// In the order in which they came.
  package var edits: [Item]
  /// How much of what they change is kept as it is delivered.
  package var materialised: DocumentMaterial

  /// Puts the values together.
  package init(
    name: String, epoch: UInt64, edits: [Item],
    materialised: DocumentMaterial = DocumentMaterial(state: "nothing", kept: 0, total: 0)
  ) {
    self.name = name
    self.epoch = epoch
    self.edits = edits
    self.materialised = materialised
  }
}

/// How much of what edits change is kept as it is delivered.
package struct DocumentMaterial: Codable, Sendable, Equatable {
  /// `nothing`, `on_delivery`, `running` or `whole`.
  package var state: String
  /// Objects of chunks that are kept as they are delivered.
  package var kept: Int
  /// Objects of chunks that the edits change.
  package var total: Int

  /// Puts the values together.
  package init(state: String, kept: Int, total: Int) {
    self.state = state
    self.kept = kept
    self.total = total
  }
}

/// The operation that was added.
package struct DocumentEditAnswer: Codable, Sendable, Equatable {
  /// By which it is reverted.
  package var id: UInt64

  /// Puts the values together.
  package init(id: UInt64) { self.id = id }
}

/// What was reverted.
package struct DocumentRevertAnswer: Codable, Sendable, Equatable {
  /// How many operations.
  package var reverted: Int

  /// Puts the values together.
  package init(reverted: Int) { self.reverted = reverted }
}
