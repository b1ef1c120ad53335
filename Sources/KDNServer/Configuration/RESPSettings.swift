package import KDNCore
package import KDNTransport

/// How clients of Redis are served.
package struct RESPSettings: Sendable {
  /// To whom a miss is as long as the header of the value that is awaited.
  package enum Padding: String, Sendable, CaseIterable {
    /// To clients that behave like LMCache's native one, for keys of its form.
    case auto
    /// To all clients that never said HELLO nor anything else but what that one says.
    case on
    /// To nobody.
    case off
  }

  /// Where to listen; empty: nowhere.
  package var endpoints: [Endpoint]
  /// The namespace of clients that do not log in; nil: they get the development namespace, if any.
  package var namespace: NamespaceName?
  /// How long EXISTS keeps what it found; 0: not at all.
  package var existsLeaseMilliseconds: Int
  /// Of the arena, and of a namespace's limit of RAM, what EXISTS may keep, in percent.
  package var leaseSharePercent: Int
  /// Largest value.
  package var valueBytesMax: Int
  /// To whom misses are padded.
  package var padding: Padding
}

extension SettingParser {
  private static let valueBytes = 1...512 << 20

  /// Listeners for clients of Redis, and how these are served; sockets that were passed stand in
  /// for the addresses.
  mutating func resp(passed: [Endpoint]) -> RESPSettings {
    let texts = texts("resp")
    let endpoints = passed.isEmpty ? addresses(texts, "resp") : passed
    let name = text("resp_namespace")
    let namespace =
      name.isEmpty
      ? nil : noting { _ throws(FieldFault) in try Self.namespace(name, "resp_namespace") }
    if !name.isEmpty, !endpoints.allSatisfy(\.isLoopback) {
      note(
        FieldFault(
          "resp_namespace", value: 1, limit: 0,
          "other hosts could enter it without a token: every resp address must be loopback"))
    }
    let paddings = RESPSettings.Padding.allCases.map { ($0.rawValue, $0) }
    return RESPSettings(
      endpoints: endpoints, namespace: namespace,
      existsLeaseMilliseconds: count("resp_exists_lease_ms", 0...600_000),
      leaseSharePercent: count("resp_lease_share", 0...90),
      valueBytesMax: size("resp_value_bytes_max", Self.valueBytes).bytes,
      padding: choice(
        "resp_padded_misses", Dictionary(uniqueKeysWithValues: paddings), else: .auto))
  }

  /// A preset namespace must be one that the configuration, or its file of namespaces, can name.
  mutating func requireNamespace(
    of resp: RESPSettings, _ tenants: [Tenant], hasFile: Bool, hasDevelopment: Bool
  ) {
    guard let name = resp.namespace, !hasFile, !tenants.contains(where: { $0.name == name }),
      !(hasDevelopment && name.text == TenantDirectory.developmentName)
    else { return }
    note(
      FieldFault(
        "resp_namespace", value: name.text.utf8.count, limit: 0,
        "'\(name)' is no namespace of the configuration"))
  }

  private static func namespace(
    _ text: String, _ field: String
  ) throws(FieldFault) -> NamespaceName {
    do {
      return try NamespaceName(text)
    } catch {
      throw FieldFault(field, value: error.value, limit: error.limit, error.problem)
    }
  }
}
