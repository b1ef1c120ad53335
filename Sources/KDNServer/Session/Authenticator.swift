internal import KDNCore

/// Decides who may enter which namespace.
struct Authenticator: Sendable {
  /// The namespace of the loopback-only development mode.
  static let developmentName = "default"

  private let namespaces: [NamespaceName: [TokenHash]]
  private let development: NamespaceName?

  init(_ configuration: ServerConfiguration) {
    namespaces = configuration.namespaces
    development =
      configuration.hasDevelopmentNamespace ? try? NamespaceName(Self.developmentName) : nil
  }

  /// True if `token` opens `namespace`; unknown names cost the same work as known ones.
  func admits(_ namespace: NamespaceName, token: String) -> Bool {
    let hash = TokenHash(of: token)
    let known = namespaces[namespace]
    var isAdmitted = false
    for candidate in known ?? [TokenHash(of: "")] where candidate.matches(hash) {
      isAdmitted = known != nil
    }
    if known == nil, namespace == development, token.isEmpty { isAdmitted = true }
    return isAdmitted
  }
}
