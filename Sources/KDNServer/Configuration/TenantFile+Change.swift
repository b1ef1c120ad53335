internal import KDNControl
internal import KDNCore

extension TenantFile {
  /// Most seconds that a token may last: a hundred years.
  private static let secondsMax: UInt64 = 100 * 366 * 86_400

  /// Applies an order.
  ///
  /// - Parameters:
  ///   - change: the order.
  ///   - taken: names that the configuration has.
  ///   - nowMilliseconds: since 1970.
  /// - Returns: the tenant as it is then; as it was if it was removed.
  /// - Throws: `not_found`, `conflict` or `bad_request`; nothing has changed then.
  mutating func apply(
    _ change: NamespaceChange, taken: Set<NamespaceName>, nowMilliseconds: UInt64
  ) throws(ControlFault) -> Tenant {
    let name = try Self.name(change.name)
    guard !taken.contains(name) else {
      throw ControlFault(.conflict, field: "name", "'\(name)' belongs to the configuration")
    }
    guard !leaving.contains(name) else {
      throw ControlFault(.conflict, field: "name", "'\(name)' is being removed")
    }
    if case .add(_, let limits) = change { return try add(name, limits) }
    guard var tenant = tenants[name] else {
      throw ControlFault(.notFound, field: "name", "no namespace '\(name)'")
    }
    tenant.tokens.removeAll { $0.isOver(nowMilliseconds: nowMilliseconds) }
    switch change {
    case .add: preconditionFailure("handled above")
    case .setLimits(_, let limits): tenant.limits = try Self.checked(limits)
    case .addToken(_, let sha256, let seconds):
      let end = try seconds.map { seconds throws(ControlFault) in
        try Self.end(seconds, "expires_in_seconds", nowMilliseconds)
      }
      try tenant.add(try Self.token(sha256, end))
    case .rotate(_, let sha256, let seconds):
      tenant.endTokens(at: try Self.end(seconds, "grace_seconds", nowMilliseconds))
      tenant.tokens.removeAll { $0.isOver(nowMilliseconds: nowMilliseconds) }
      try tenant.add(try Self.token(sha256, nil))
    case .revokeToken(_, let id): try tenant.revoke(id)
    case .remove:
      tenants[name] = nil
      leaving.insert(name)
      return tenant
    }
    tenants[name] = tenant
    return tenant
  }

  private mutating func add(
    _ name: NamespaceName, _ limits: NamespaceLimits
  ) throws(ControlFault) -> Tenant {
    guard tenants[name] == nil else {
      throw ControlFault(.conflict, field: "name", "'\(name)' is there already")
    }
    guard tenants.count + leaving.count < Self.tenantsMax else {
      throw ControlFault(.conflict, field: "name", "at most \(Self.tenantsMax) namespaces")
    }
    let tenant = Tenant(name, limits: try Self.checked(limits), source: .file)
    tenants[name] = tenant
    return tenant
  }

  // MARK: Values of orders

  private static func name(_ text: String) throws(ControlFault) -> NamespaceName {
    do {
      return try NamespaceName(text)
    } catch {
      throw ControlFault(error)
    }
  }

  private static func checked(_ limits: NamespaceLimits) throws(ControlFault) -> NamespaceLimits {
    do {
      try limits.check(field: "limits")
      return limits
    } catch {
      throw ControlFault(error)
    }
  }

  private static func token(_ sha256: String, _ end: UInt64?) throws(ControlFault) -> TenantToken {
    do {
      let hash = try TokenHash(hexadecimal: sha256, field: "sha256")
      return TenantToken(hash, expiresUnixMilliseconds: end)
    } catch {
      throw ControlFault(error)
    }
  }

  private static func end(
    _ seconds: UInt64, _ field: String, _ nowMilliseconds: UInt64
  ) throws(ControlFault) -> UInt64 {
    guard seconds <= secondsMax else {
      throw ControlFault(
        FieldFault(field, value: seconds, limit: secondsMax, "more than a hundred years"))
    }
    return nowMilliseconds + seconds * 1000
  }
}

extension Tenant {
  fileprivate mutating func add(_ token: TenantToken) throws(ControlFault) {
    guard !tokens.contains(where: { $0.id == token.id }) else {
      throw ControlFault(.conflict, field: "sha256", "token \(token.id) is there already")
    }
    guard tokens.count < TenantToken.countMax else {
      throw ControlFault(
        .conflict, field: "sha256", "at most \(TenantToken.countMax) tokens; revoke one")
    }
    tokens.append(token)
  }

  fileprivate mutating func endTokens(at end: UInt64) {
    for index in tokens.indices {
      tokens[index].expiresUnixMilliseconds = min(
        tokens[index].expiresUnixMilliseconds ?? .max, end)
    }
  }

  fileprivate mutating func revoke(_ id: String) throws(ControlFault) {
    guard let index = tokens.firstIndex(where: { $0.id == id.lowercased() }) else {
      throw ControlFault(.notFound, field: "id", "no token '\(id)'")
    }
    tokens.remove(at: index)
  }
}

extension NamespaceChange {
  /// The tenant that it is about.
  fileprivate var name: String {
    switch self {
    case .add(let name, _), .setLimits(let name, _), .addToken(let name, _, _),
      .rotate(let name, _, _), .revokeToken(let name, _), .remove(let name):
      name
    }
  }
}
