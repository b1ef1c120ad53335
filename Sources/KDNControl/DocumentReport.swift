/// Documents that are known by name, of all namespaces together.
package struct DocumentReport: Codable, Sendable, Equatable {
  /// Names that stand for a text.
  package var documents: Int
  /// Operations on their KV.
  package var edits: Int

  /// Puts the values together.
  package init(documents: Int, edits: Int) {
    self.documents = documents
    self.edits = edits
  }
}
