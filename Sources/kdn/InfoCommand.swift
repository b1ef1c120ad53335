internal import ArgumentParser
internal import KDNClient
internal import KDNCore
internal import KDNWire

/// `kdn info`: what the daemon says of itself in HELLO, and how it was reached.
struct InfoCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Shows what the daemon is and grants, the link, and why that one.")

  @OptionGroup var common: CommonOptions

  func answer() throws -> Bool {
    let connection = try common.connect()
    let facts = Facts(connection.hello, connection.link)
    if common.json {
      try Output.line(facts)
    } else {
      for (name, value) in facts.rows { Output.line("\(name): \(value)") }
    }
    return true
  }

  private struct Facts: Encodable {
    let server: String
    let serverID: String
    let protocolVersion: UInt16
    let links: [String]
    let link: String
    let linkAddress: String
    let linkReason: String
    let namespaceGeneration: UInt64
    let limits: [String: Int]

    init(_ hello: HelloResponse, _ link: ClientLink) {
      server = hello.server
      serverID = hexadecimal(hello.serverID)
      protocolVersion = hello.version
      let names: [(LinkKinds, String)] = [
        (.tcp, "tcp"), (.unix, "unix"), (.sharedMemory, "shared_memory"), (.rdma, "rdma"),
      ]
      links = names.filter { hello.links.contains($0.0) }.map(\.1)
      self.link = link.kind.rawValue
      linkAddress = link.address
      linkReason = link.reason
      namespaceGeneration = hello.namespaceGeneration
      let limits = hello.limits
      self.limits = [
        "max_body_bytes": limits.maxBodyBytes,
        "max_frame_payload_bytes": limits.maxFramePayloadBytes,
        "max_object_bytes": limits.maxObjectBytes,
        "max_keys_per_request": limits.maxKeysPerRequest,
        "max_requests_in_flight": limits.maxRequestsInFlight,
        "credit_bytes": limits.creditBytes,
        "default_deadline_milliseconds": limits.defaultDeadlineMilliseconds,
        "max_deadline_milliseconds": limits.maxDeadlineMilliseconds,
        "idle_timeout_milliseconds": limits.idleTimeoutMilliseconds,
        "max_lease_milliseconds": limits.maxLeaseMilliseconds,
      ]
    }

    var rows: [(String, String)] {
      let first = [
        ("server", server), ("server_id", serverID), ("protocol", "KDNP/\(protocolVersion)"),
        ("links", links.joined(separator: " ")), ("link", "\(link) at \(linkAddress)"),
        ("link_reason", linkReason),
        ("namespace_generation", "\(namespaceGeneration)"),
      ]
      return first + limits.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
    }
  }
}
