internal import ArgumentParser
internal import FoundationEssentials
internal import KDNCore
internal import KDNTransport

/// What each command takes that asks the daemon's HTTP endpoint.
struct AdminOptions: ParsableArguments {
  @Option(
    help: "HOST:PORT of the HTTP endpoint; else from KDN_ADMIN_ADDRESS, else 127.0.0.1:9441.")
  var admin: String?
  @Option(help: "File that holds an admin token; else it is taken from KDN_ADMIN_TOKEN.")
  var adminTokenFile: String?
  @Flag(help: "Write JSON.")
  var json = false

  /// Who asks the endpoint.
  func client() throws -> AdminClient {
    let environment = ProcessInfo.processInfo.environment
    let text = admin ?? environment["KDN_ADMIN_ADDRESS"] ?? "127.0.0.1:9441"
    guard case .tcp(let host, let port) = try Endpoint(parsingTCP: text, field: "admin") else {
      throw ValidationError("'\(text)' is not HOST:PORT")
    }
    return AdminClient(host: host, port: Int(port), token: try token(environment))
  }

  /// Arguments are visible to all users of a machine, so a token is never one.
  private func token(_ environment: [String: String]) throws -> String {
    guard let adminTokenFile else { return environment["KDN_ADMIN_TOKEN"] ?? "" }
    let text = try String(contentsOfFile: adminTokenFile, encoding: .utf8)
    return String(text.drop(while: \.isWhitespace).prefix { !$0.isNewline })
  }
}
