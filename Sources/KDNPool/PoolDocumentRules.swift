package import KDNCore

extension Pool {
  /// Which documents of a namespace may not be used.
  package func accessRules(in namespace: Namespace) -> AccessRules {
    documents.table(of: namespace).rules
  }

  /// Whether a document, published or not, may be used.
  package func mayUse(document name: String, in namespace: Namespace) -> Bool {
    accessRules(in: namespace).rule(denying: name) == nil
  }

  /// Puts rules in the place of all; `completion` as in `publish`.
  ///
  /// Fails with `limit` naming `documentBytes`, `busy`, `unavailable`.
  package func setAccessRules(
    _ rules: AccessRules, in namespace: Namespace,
    completion: @escaping @Sendable (Result<AccessRules, PoolRefusal>) -> Void
  ) {
    rule(.setRules(rules), namespace, completion)
  }

  /// Adds rules, takes others away, which need not be there, and tells which hold then;
  /// `completion` as in `publish`.
  ///
  /// Fails with `fault` naming `name` or `denied`, `limit` naming `documentBytes`, `busy`,
  /// `unavailable`.
  package func changeAccessRules(
    denying: [String], allowing: [String], in namespace: Namespace,
    completion: @escaping @Sendable (Result<AccessRules, PoolRefusal>) -> Void
  ) {
    rule(.changeRules(denying: denying, allowing: allowing), namespace, completion)
  }

  private func rule(
    _ order: DocumentOrder, _ namespace: Namespace,
    _ completion: @escaping @Sendable (Result<AccessRules, PoolRefusal>) -> Void
  ) {
    documents.perform(order, in: namespace) { result in
      completion(
        result.map { outcome in
          guard case .ruled(let rules) = outcome else {
            preconditionFailure("not the outcome of rules")
          }
          return rules
        })
    }
  }
}
