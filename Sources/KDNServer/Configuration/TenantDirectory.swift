package import KDNCore

/// All tenants at one moment.
package struct TenantSnapshot: Sendable {
  /// Who may enter what.
  package let tenants: [NamespaceName: Tenant]
  /// The namespace that is open to everybody on this host; nil if there is none.
  package let development: NamespaceName?
  /// Limits of the development namespace.
  let developmentLimits: NamespaceLimits

  /// Puts tenants together, which must have names of their own.
  package init(
    _ tenants: [Tenant], development: NamespaceName? = nil,
    developmentLimits: NamespaceLimits = .none
  ) {
    self.tenants = Dictionary(uniqueKeysWithValues: tenants.map { ($0.name, $0) })
    self.development = development
    self.developmentLimits = developmentLimits
  }
}

/// Decides who may enter which namespace; callable from any thread.
package final class TenantDirectory: Sendable {
  /// The namespace of the loopback-only development mode.
  static let developmentName = "default"
  /// Compared in the place of tokens that are not there.
  private static let decoy = TokenHash(of: "")

  private let current: Guarded<TenantSnapshot>

  /// Starts with `snapshot`.
  package init(_ snapshot: TenantSnapshot) { current = Guarded(snapshot) }

  /// All tenants now.
  package var snapshot: TenantSnapshot { current.withLock { $0 } }

  /// Lets other tenants hold from now on.
  package func replace(_ snapshot: TenantSnapshot) { current.withLock { $0 = snapshot } }

  /// Whether a client may enter a namespace, and by what.
  ///
  /// Unknown names, and names with any number of tokens, cost the same comparisons.
  /// - Parameters:
  ///   - namespace: what the client wants to enter.
  ///   - token: the token it brought, or nothing.
  ///   - peerNames: names in its verified certificate; empty without one.
  ///   - nowMilliseconds: since 1970.
  /// - Returns: what let it in; nil if it may not enter.
  package func admit(
    _ namespace: NamespaceName, token: String, peerNames: [String], nowMilliseconds: UInt64
  ) -> TenantPass? {
    let snapshot = snapshot
    let hash = TokenHash(of: token)
    let tenant = snapshot.tenants[namespace]
    let tokens = tenant?.tokens ?? []
    var found: TokenHash?
    for index in 0..<TenantToken.countMax {
      let isThere = index < tokens.count
      let candidate = isThere ? tokens[index].hash : Self.decoy
      guard candidate.matches(hash), isThere else { continue }
      if !tokens[index].isOver(nowMilliseconds: nowMilliseconds) { found = candidate }
    }
    if let found { return TenantPass(namespace: namespace, credential: .token(found)) }
    if let name = tenant?.certificateNames.first(where: { peerNames.contains($0) }) {
      return TenantPass(namespace: namespace, credential: .certificate(name))
    }
    guard tenant == nil, namespace == snapshot.development, token.isEmpty else { return nil }
    return TenantPass(namespace: namespace, credential: .open)
  }

  /// The namespace that a token opens, for clients that can only say a token.
  ///
  /// Every token of every namespace is compared, whatever is found on the way.
  /// - Returns: nil if none opens, or more than one.
  package func admit(token: String, nowMilliseconds: UInt64) -> TenantPass? {
    let hash = TokenHash(of: token)
    var found: [TenantPass] = []
    for tenant in snapshot.tenants.values {
      for one in tenant.tokens
      where one.hash.matches(hash) && !one.isOver(nowMilliseconds: nowMilliseconds) {
        found.append(TenantPass(namespace: tenant.name, credential: .token(one.hash)))
      }
    }
    return found.count == 1 ? found[0] : nil
  }

  /// Lets a client in that does not log in: into `preset` if there is such a namespace, else into
  /// the one that is open to everybody on this host; nil if there is neither.
  func admitWithoutLogin(preset: NamespaceName?) -> TenantPass? {
    let snapshot = snapshot
    if let preset, snapshot.tenants[preset] != nil {
      return TenantPass(namespace: preset, credential: .local)
    }
    guard let development = snapshot.development, snapshot.tenants[development] == nil,
      preset == nil || preset == development
    else { return nil }
    return TenantPass(namespace: development, credential: .open)
  }

  /// Whether `admit` lets the client in.
  package func admits(
    _ namespace: NamespaceName, token: String, peerNames: [String], nowMilliseconds: UInt64
  ) -> Bool {
    admit(
      namespace, token: token, peerNames: peerNames, nowMilliseconds: nowMilliseconds) != nil
  }

  /// Whether what let a connection in would still let it in.
  package func holds(_ pass: TenantPass, nowMilliseconds: UInt64) -> Bool {
    let snapshot = snapshot
    let tenant = snapshot.tenants[pass.namespace]
    switch pass.credential {
    case .token(let hash):
      return tenant?.tokens.contains {
        $0.hash == hash && !$0.isOver(nowMilliseconds: nowMilliseconds)
      } ?? false
    case .certificate(let name): return tenant?.certificateNames.contains(name) ?? false
    case .open: return tenant == nil && pass.namespace == snapshot.development
    case .local: return tenant != nil
    }
  }

  /// The limits of a namespace; none for one that is not known.
  package func limits(of namespace: NamespaceName) -> NamespaceLimits {
    let snapshot = snapshot
    if let tenant = snapshot.tenants[namespace] { return tenant.limits }
    return namespace == snapshot.development ? snapshot.developmentLimits : .none
  }

  /// All tenants in the order of their names, without the development namespace.
  package var tenants: [Tenant] {
    snapshot.tenants.values.sorted { $0.name.text < $1.name.text }
  }
}
