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
