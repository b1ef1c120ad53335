/// Where and for whom the HTTP endpoint serves.
package struct AdminConfiguration: Sendable {
  /// Addresses to listen on, `host` numeric or `localhost`; port 0 lets the kernel choose.
  package var endpoints: [(host: String, port: Int)]
  /// Values of the Host header that are served beside loopback names and the endpoints' own.
  package var hosts: [String]
  /// Connections served at once.
  package var connectionsMax: Int
  /// A connection without a request is closed after this.
  package var idleTimeoutMilliseconds: Int
  /// Head and body of a request must be complete this soon.
  package var requestTimeoutMilliseconds: Int

  /// Creates a configuration with the default limits.
  package init(
    endpoints: [(host: String, port: Int)], hosts: [String] = [], connectionsMax: Int = 64,
    idleTimeoutMilliseconds: Int = 60_000, requestTimeoutMilliseconds: Int = 10_000
  ) {
    self.endpoints = endpoints
    self.hosts = hosts
    self.connectionsMax = connectionsMax
    self.idleTimeoutMilliseconds = idleTimeoutMilliseconds
    self.requestTimeoutMilliseconds = requestTimeoutMilliseconds
  }
}
