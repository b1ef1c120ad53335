/// An operation on a document, as it is kept beside it.
package struct DocumentEdit: Hashable, Sendable {
  /// Not 0; grows with each operation in a namespace and names one of them only.
  package let id: UInt64
  /// What is done where KV is assembled; `keep` has come to `drop`.
  package let operation: EditOperation

  /// Puts the facts together.
  package init(id: UInt64, operation: EditOperation) {
    self.id = id
    self.operation = operation
  }
}

extension EditOperation {
  /// What `emphasise` multiplies keys by, unless it is told: right for the words that answer a
  /// question; 1.25 to 1.4 do for whole sentences.
  package static let emphasisStrength: Float = 1.75
  /// What `suppress` multiplies keys by, unless it is told.
  package static let suppressionStrength: Float = 0.5
}
