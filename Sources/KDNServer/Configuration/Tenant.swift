package import KDNControl
package import KDNCore

/// A token that opens a namespace, as its SHA-256.
package struct TenantToken: Hashable, Sendable {
  /// Most tokens of one tenant: who asks to enter is compared with this many, known or not.
  package static let countMax = 16
  /// Hexadecimal digits of the hash that name the token in orders.
  static let idDigits = 12

  /// The token's hash.
  package let hash: TokenHash
  /// When it ends, in milliseconds since 1970; nil for never.
  package var expiresUnixMilliseconds: UInt64?

  /// Puts the values together.
  package init(_ hash: TokenHash, expiresUnixMilliseconds: UInt64? = nil) {
    self.hash = hash
    self.expiresUnixMilliseconds = expiresUnixMilliseconds
  }

  /// Names the token where it may be shown.
  package var id: String { String(hash.hexadecimal.prefix(Self.idDigits)) }

  /// Whether the token has ended at `nowMilliseconds` since 1970.
  package func isOver(nowMilliseconds: UInt64) -> Bool {
    expiresUnixMilliseconds.map { $0 <= nowMilliseconds } ?? false
  }
}

/// Who may enter a namespace, and how much of the daemon it may take.
package struct Tenant: Hashable, Sendable {
  /// Most names in certificates that open one namespace.
  package static let certificateNamesMax = 16
  /// Longest name in a certificate, in bytes.
  package static let certificateNameBytesMax = 255

  /// Who keeps a tenant.
  package enum Source: String, Sendable {
    /// Flags, environment or the YAML file.
    case configuration
    /// The file of namespaces, which administrators change through the daemon.
    case file
  }

  /// The name of the namespace.
  package let name: NamespaceName
  /// Its hard limits.
  package var limits: NamespaceLimits
  /// What opens it, at most `TenantToken.countMax`.
  package var tokens: [TenantToken]
  /// Names in client certificates that open it without a token, at most `certificateNamesMax`.
  package var certificateNames: [String]
  /// Codecs that its objects are kept in.
  package var codecs: KeptCodecs
  /// Who keeps it.
  package let source: Source

  /// Puts the values together.
  package init(
    _ name: NamespaceName, limits: NamespaceLimits = .none, tokens: [TenantToken] = [],
    certificateNames: [String] = [], codecs: KeptCodecs = .none, source: Source
  ) {
    self.name = name
    self.limits = limits
    self.tokens = tokens
    self.certificateNames = certificateNames
    self.codecs = codecs
    self.source = source
  }

  /// What an administrator may see.
  package var detail: NamespaceDetail {
    NamespaceDetail(
      name: name.text, limits: limits,
      tokens: tokens.map {
        NamespaceDetail.Token(id: $0.id, expiresUnixMilliseconds: $0.expiresUnixMilliseconds)
      },
      certificateNames: certificateNames, source: source.rawValue)
  }
}

/// How a connection was let in: looked at again while it stands, so that it ends with its token.
package struct TenantPass: Hashable, Sendable {
  /// What opened the namespace.
  enum Credential: Hashable, Sendable {
    case token(TokenHash)
    case certificate(String)
    /// It is open to everybody on this host.
    case open
    /// The configuration names it for local clients of Redis that do not log in.
    case local
  }

  /// The namespace that was opened.
  package let namespace: NamespaceName
  let credential: Credential
}
