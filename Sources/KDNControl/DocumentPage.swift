/// What documents to list.
package struct DocumentQuery: Sendable, Equatable {
  /// Most documents of one page.
  package static let limitMax = 1000

  /// The tenant.
  package var namespace: String
  /// `next` of the page before; nil for the first.
  package var after: String?
  /// 1 to `limitMax`.
  package var limit: Int
  /// The document of this name alone; nil for all.
  package var name: String?

  /// Puts the values together.
  package init(namespace: String, after: String? = nil, limit: Int, name: String? = nil) {
    self.namespace = namespace
    self.after = after
    self.limit = limit
    self.name = name
  }
}

/// Documents of one tenant, in the order of their names' bytes.
package struct DocumentPage: Codable, Sendable {
  /// One document.
  package struct Item: Codable, Sendable, Equatable {
    /// The name that stands for the text.
    package var name: String
    /// Grows with each publication under this name.
    package var epoch: UInt64
    /// Layout id in hexadecimal.
    package var layout: String
    /// Tokens of the whole text.
    package var tokens: Int
    /// Chunks that they make.
    package var chunks: Int
    /// Leading chunks that some tier has.
    package var presentChunks: Int
    /// What its publisher said of it.
    package var metadata: String
    /// Operations on it.
    package var edits: Int
    /// Whether a rule keeps it from being used.
    package var isDenied: Bool

    /// Puts the values together.
    package init(
      name: String, epoch: UInt64, layout: String, tokens: Int, chunks: Int, presentChunks: Int,
      metadata: String, edits: Int = 0, isDenied: Bool = false
    ) {
      self.name = name
      self.epoch = epoch
      self.layout = layout
      self.tokens = tokens
      self.chunks = chunks
      self.presentChunks = presentChunks
      self.metadata = metadata
      self.edits = edits
      self.isDenied = isDenied
    }
  }

  /// The documents.
  package var documents: [Item]
  /// Name of the last one, for the next page; nil after the last page.
  package var next: String?

  /// Puts the values together.
  package init(documents: [Item], next: String? = nil) {
    self.documents = documents
    self.next = next
  }
}
