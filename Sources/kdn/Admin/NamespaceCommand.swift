internal import ArgumentParser
internal import KDNControl
internal import KDNCore

/// `kdn namespace`: tenants, their limits and tokens.
struct NamespaceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "namespace",
    abstract: "Adds tenants, sets their limits and changes their tokens while the daemon serves.",
    discussion: """
      Tokens are made here; the daemon gets and keeps their SHA-256 alone. A new token is written \
      to standard output, once, or to the file that --token-output names.
      """,
    subcommands: [
      NamespaceAdd.self, NamespaceList.self, NamespaceQuota.self, NamespaceRotate.self,
      NamespaceRevoke.self, NamespaceRemove.self,
    ])
}

/// `kdn namespace list`.
struct NamespaceList: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Shows all tenants with their limits and tokens' names.")

  @OptionGroup var admin: AdminOptions

  func answer() throws -> Bool {
    let bytes = try admin.client().bytes("/namespaces")
    guard !admin.json else {
      Output.line(String(decoding: bytes, as: UTF8.self))
      return true
    }
    let rows = try ControlJSON.decode(NamespaceList.Answer.self, from: bytes).namespaces.map {
      [$0.name, $0.source, Self.limits($0.limits), Self.tokens($0)]
    }
    for line in Text.table(["name", "from", "limits", "opened by"], rows) { Output.line(line) }
    return true
  }

  struct Answer: Decodable { let namespaces: [NamespaceDetail] }

  static func limits(_ limits: NamespaceLimits) -> String {
    let sizes = [
      ("ram", limits.ramBytesMax), ("disk", limits.diskBytesMax),
      ("pinned", limits.pinnedBytesMax), ("bytes/s", limits.bytesPerSecond),
    ].compactMap { name, value in value.map { "\(name)=\(ByteCount($0))" } }
    let counts = [
      ("connections", limits.connectionsMax), ("requests/s", limits.requestsPerSecond),
    ].compactMap { name, value in value.map { "\(name)=\($0)" } }
    let all = sizes + counts
    return all.isEmpty ? "none" : all.joined(separator: " ")
  }

  private static func tokens(_ detail: NamespaceDetail) -> String {
    let tokens = detail.tokens.map { token in
      token.expiresUnixMilliseconds.map {
        "\(token.id) until \(Text.time(unixMilliseconds: $0))"
      } ?? token.id
    }
    let all = tokens + detail.certificateNames.map { "certificate \($0)" }
    guard all.isEmpty else { return all.joined(separator: ", ") }
    // In a configuration only the development namespace can do without.
    return detail.source == "configuration" ? "everybody on the host" : "nobody"
  }
}

/// `kdn namespace add`.
struct NamespaceAdd: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "add", abstract: "Adds a tenant with a token of its own.")

  @OptionGroup var admin: AdminOptions
  @Argument(help: "Its name: letters, digits, dot, underscore, hyphen.") var name: String
  @OptionGroup var limits: LimitArguments
  @OptionGroup var output: TokenOutput

  private struct Addition: Encodable {
    let name: String
    let limits: NamespaceLimits
  }

  func answer() throws -> Bool {
    let name = try NamespaceName(name).text
    let client = try admin.client()
    let addition = Addition(name: name, limits: try limits.applied(to: .none))
    return try output.hand(NewToken(), json: admin.json) { token in
      _ = try client.order(.POST, "/namespaces", addition)
      return try client.order(
        .POST, "/namespaces/\(name)/tokens", NewToken.Order(sha256: token.sha256))
    }
  }
}

/// `kdn namespace quota`.
struct NamespaceQuota: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "quota", abstract: "Changes the limits that are given, and keeps the others.")

  @OptionGroup var admin: AdminOptions
  @Argument(help: "The tenant.") var name: String
  @OptionGroup var limits: LimitArguments

  func answer() throws -> Bool {
    let name = try NamespaceName(name).text
    let client = try admin.client()
    let known = try client.get("/namespaces", as: NamespaceList.Answer.self).namespaces
    guard let tenant = known.first(where: { $0.name == name }) else {
      Output.complain("there is no namespace '\(name)'")
      return false
    }
    let wanted = try limits.applied(to: tenant.limits)
    let bytes =
      limits.isEmpty
      ? ControlJSON.encode(tenant)
      : try client.order(.PUT, "/namespaces/\(name)/limits", wanted)
    Output.line(
      admin.json ? String(decoding: bytes, as: UTF8.self) : NamespaceList.limits(wanted))
    return true
  }
}

/// `kdn namespace rotate`.
struct NamespaceRotate: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotate",
    abstract: "Makes a new token; the others end after the time of grace.")

  @OptionGroup var admin: AdminOptions
  @Argument(help: "The tenant.") var name: String
  @Option(help: "Seconds that the old tokens still hold.") var grace: UInt64 = 3600
  @OptionGroup var output: TokenOutput

  private struct Rotation: Encodable {
    let sha256: String
    let graceSeconds: UInt64
  }

  func answer() throws -> Bool {
    let name = try NamespaceName(name).text
    let client = try admin.client()
    return try output.hand(NewToken(), json: admin.json) { token in
      try client.order(
        .POST, "/namespaces/\(name)/rotate", Rotation(sha256: token.sha256, graceSeconds: grace))
    }
  }
}

/// `kdn namespace revoke`.
struct NamespaceRevoke: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "revoke", abstract: "Ends a token at once, with the connections it opened.")

  @OptionGroup var admin: AdminOptions
  @Argument(help: "The tenant.") var name: String
  @Argument(help: "The token's name, as `list` shows it.") var id: String

  func answer() throws -> Bool {
    let bytes = try admin.client().order(
      .DELETE, "/namespaces/\(NamespaceName(name).text)/tokens/\(id)")
    Output.line(admin.json ? String(decoding: bytes, as: UTF8.self) : "revoked \(id)")
    return true
  }
}

/// `kdn namespace remove`.
struct NamespaceRemove: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Closes a tenant and drops all its objects.")

  @OptionGroup var admin: AdminOptions
  @Argument(help: "The tenant.") var name: String
  @Flag(help: "Needed, since nothing brings the objects back.") var yes = false

  func validate() throws {
    guard yes else { throw ValidationError("this drops all objects of '\(name)': say --yes") }
  }

  func answer() throws -> Bool {
    let bytes = try admin.client().order(.DELETE, "/namespaces/\(NamespaceName(name).text)")
    Output.line(admin.json ? String(decoding: bytes, as: UTF8.self) : "removed \(name)")
    return true
  }
}
