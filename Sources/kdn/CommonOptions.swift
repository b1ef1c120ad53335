internal import ArgumentParser
internal import FoundationEssentials
internal import KDNClient
internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// What each command takes: where the daemon is and who asks.
struct CommonOptions: ParsableArguments {
  @Option(
    help: "HOST:PORT or unix:///path; else from KDN_ADDRESS, else 127.0.0.1:9440.")
  var address: String?
  @Option(help: "The namespace; else from KDN_NAMESPACE, else default.")
  var namespace: String?
  @Option(help: "File that holds the token; else it is taken from KDN_TOKEN.")
  var tokenFile: String?
  @Flag(help: "Write JSON.")
  var json = false

  private static let unixPrefix = "unix://"

  /// Connects and greets the daemon.
  func connect() throws -> Connection {
    try Connection(
      endpoint(), namespace: NamespaceName(setting(namespace, "KDN_NAMESPACE") ?? "default"),
      token: token(), agent: "kdn/\(KDNCommand.version)")
  }

  /// Connects and gives the verbs.
  func client() throws -> Client { Client(try connect()) }

  /// Where the daemon is.
  func endpoint() throws -> Endpoint {
    let text = setting(address, "KDN_ADDRESS") ?? "127.0.0.1:9440"
    guard text.hasPrefix(Self.unixPrefix) else {
      return try Endpoint(parsingTCP: text, field: "address")
    }
    let path = String(text.dropFirst(Self.unixPrefix.count))
    return try Endpoint(parsingUnix: path, field: "address")
  }

  /// The token; arguments are visible to all users of a machine, so it is never one.
  private func token() throws -> String {
    guard let tokenFile else { return setting(nil, "KDN_TOKEN") ?? "" }
    let text = try String(contentsOfFile: tokenFile, encoding: .utf8)
    return String(text.drop(while: \.isWhitespace).prefix { !$0.isNewline })
  }

  private func setting(_ option: String?, _ variable: String) -> String? {
    option ?? ProcessInfo.processInfo.environment[variable]
  }
}
