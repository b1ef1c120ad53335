package import KDNCore

extension Pool {
  /// Adds an operation to a document of this epoch, or any for 0, and tells its id; `completion` as
  /// in `publish`.
  ///
  /// The base is not changed; of scores the tokens are kept that they come to. Fails with
  /// `notFound` naming `name`, `fault` naming `epoch` or a field of the operation, `limit` naming
  /// `edits` or `documentBytes`, `busy`, `unavailable`.
  package func edit(
    document name: String, epoch: UInt64, _ operation: EditOperation, in namespace: Namespace,
    completion: @escaping @Sendable (Result<UInt64, PoolRefusal>) -> Void
  ) {
    change(.edit(name, epoch: epoch, operation), name, namespace) { result in
      completion(
        result.map { outcome in
          guard case .edited(let id) = outcome else { preconditionFailure("not an edit's outcome") }
          return id
        })
    }
  }

  /// Takes back the operation of this id, or all of a document for 0, and tells how many they were;
  /// `completion` as in `publish`.
  ///
  /// Fails with `notFound` naming `name` or `id`, `busy`, `unavailable`.
  package func revert(
    document name: String, id: UInt64, in namespace: Namespace,
    completion: @escaping @Sendable (Result<Int, PoolRefusal>) -> Void
  ) {
    change(.revert(name, id: id), name, namespace) { result in
      completion(
        result.map { outcome in
          guard case .reverted(let count) = outcome else {
            preconditionFailure("not a revert's outcome")
          }
          return count
        })
    }
  }
}

extension DocumentOutcome {
  /// The document of a publication or retirement.
  var published: PublishedDocument {
    guard case .document(let published) = self else {
      preconditionFailure("the outcome is no document")
    }
    return published
  }
}
