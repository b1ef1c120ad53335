package import KDNCore

/// Somebody who may give orders to the daemon.
package struct Administrator: Hashable, Sendable {
  /// Most administrators.
  static let countMax = 64

  /// What the audit log calls the administrator.
  package let name: String
  /// The hash of what proves it.
  package let token: TokenHash

  /// Reads `NAME:SHA256`.
  ///
  /// - Throws: a fault that names `field`; the text, which may hold a secret, is not repeated.
  package init(parsing text: String, field: String) throws(FieldFault) {
    guard let colon = text.lastIndex(of: ":") else {
      throw FieldFault(field, value: text.utf8.count, limit: 0, "an entry is NAME:SHA256")
    }
    do {
      name = try NamespaceName(String(text[..<colon])).text
    } catch {
      throw FieldFault(field, value: error.value, limit: error.limit, "name: \(error.problem)")
    }
    token = try TokenHash(hexadecimal: String(text[text.index(after: colon)...]), field: field)
  }
}
