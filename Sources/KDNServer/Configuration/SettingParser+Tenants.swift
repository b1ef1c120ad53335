internal import KDNCore

extension SettingParser {
  /// The tenants that the configuration names, and the limits of the development namespace.
  mutating func tenants(
    hasDevelopment: Bool, verifiesClients: Bool
  ) -> ([Tenant], NamespaceLimits) {
    var tenants: [NamespaceName: Tenant] = [:]
    for text in texts("namespaces") {
      _ = noting { _ throws(FieldFault) in try Self.addToken(text, to: &tenants) }
    }
    let clients = texts("tls_clients")
    if !clients.isEmpty, !verifiesClients {
      note(
        FieldFault(
          "tls_clients", value: clients.count, limit: 0,
          "no certificate is verified without tls_client_ca"))
    }
    for text in clients {
      _ = noting { _ throws(FieldFault) in try Self.addCertificate(text, to: &tenants) }
    }
    var development: NamespaceLimits?
    for text in texts("namespace_limits") {
      _ = noting { _ throws(FieldFault) in
        try Self.addLimits(text, to: &tenants, &development, hasDevelopment)
      }
    }
    if tenants.count > TenantFile.tenantsMax {
      note(
        FieldFault(
          "namespaces", value: tenants.count, limit: TenantFile.tenantsMax, "too many namespaces"))
    }
    return (tenants.values.sorted { $0.name.text < $1.name.text }, development ?? .none)
  }

  private static func addToken(
    _ text: String, to tenants: inout [NamespaceName: Tenant]
  ) throws(FieldFault) {
    let field = "namespaces"
    let halves = text.split(separator: ":", maxSplits: 1).map { String($0) }
    guard halves.count == 2 else {
      throw FieldFault(field, value: text.utf8.count, limit: 0, "an entry is NAME:SHA256")
    }
    let name = try name(halves[0], field)
    let token = TenantToken(try TokenHash(hexadecimal: halves[1], field: field))
    var tenant = tenants[name] ?? Tenant(name, source: .configuration)
    guard !tenant.tokens.contains(where: { $0.id == token.id }) else {
      throw FieldFault(
        field, value: 2, limit: 1, "token \(token.id) of '\(name)' stands there twice")
    }
    guard tenant.tokens.count < TenantToken.countMax else {
      throw FieldFault(
        field, value: tenant.tokens.count + 1, limit: TenantToken.countMax,
        "too many tokens of '\(name)'")
    }
    tenant.tokens.append(token)
    tenants[name] = tenant
  }

  /// The last equals sign separates: a common name is written `CN=name`.
  private static func addCertificate(
    _ text: String, to tenants: inout [NamespaceName: Tenant]
  ) throws(FieldFault) {
    let field = "tls_clients"
    guard let equals = text.lastIndex(of: "="), equals > text.startIndex,
      text[..<equals] != "CN"
    else {
      throw FieldFault(field, value: text.utf8.count, limit: 0, "an entry is NAME=NAMESPACE")
    }
    let name = try name(String(text[text.index(after: equals)...]), field)
    var tenant = tenants[name] ?? Tenant(name, source: .configuration)
    tenant.certificateNames.append(String(text[..<equals]))
    try Tenant.checkCertificateNames(tenant.certificateNames, field: field)
    tenants[name] = tenant
  }

  private static func addLimits(
    _ text: String, to tenants: inout [NamespaceName: Tenant],
    _ development: inout NamespaceLimits?, _ hasDevelopment: Bool
  ) throws(FieldFault) {
    let field = "namespace_limits"
    let words = text.split(separator: " ")
    guard let first = words.first else {
      throw FieldFault(field, value: 0, limit: 1, "an entry is NAME LIMIT=VALUE…")
    }
    let name = try name(String(first), field)
    let limits = try NamespaceLimits(parsing: words.dropFirst(), field: field)
    if tenants[name] != nil {
      guard tenants[name]?.limits == NamespaceLimits.none else {
        throw FieldFault(field, value: 2, limit: 1, "'\(name)' stands there twice")
      }
      tenants[name]?.limits = limits
    } else if hasDevelopment, name.text == TenantDirectory.developmentName {
      guard development == nil else {
        throw FieldFault(field, value: 2, limit: 1, "'\(name)' stands there twice")
      }
      development = limits
    } else {
      throw FieldFault(
        field, value: name.text.utf8.count, limit: 0,
        "'\(name)' is no namespace of the configuration")
    }
  }

  private static func name(_ text: String, _ field: String) throws(FieldFault) -> NamespaceName {
    do {
      return try NamespaceName(text)
    } catch {
      throw FieldFault(field, value: error.value, limit: error.limit, error.problem)
    }
  }
}
