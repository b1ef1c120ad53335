package import KDNCore
package import KDNTransport

/// What of the configuration a reload changes and connections look at when they begin.
package struct LiveValues: Sendable {
  /// Limits of a new connection.
  package var limits: Limits
  /// Connections served at once.
  package var connectionsMax: Int
  /// A request that takes longer is logged as slow; 0: none is.
  package var slowRequestMilliseconds: Int
  /// How long a drain may take.
  package var drainTimeoutMilliseconds: Int
  /// Who may give orders.
  package var administrators: [Administrator]
  /// How clients of Redis are served.
  package var resp: RESPSettings
  /// Who may share memory.
  package var sharedMemory: SharedMemorySettings
  /// Windows that may be open at once.
  package var windowsMax: Int
  /// Whether tokens may travel over the fabric.
  package var trustsRDMA: Bool
  /// Certificate and key for new connections; nil without TLS.
  package var security: TLSServer?

  /// Takes the values out of a configuration.
  package init(_ configuration: ServerConfiguration, security: TLSServer? = nil) {
    limits = configuration.limits
    connectionsMax = configuration.connectionsMax
    slowRequestMilliseconds = configuration.slowRequestMilliseconds
    drainTimeoutMilliseconds = configuration.drainTimeoutMilliseconds
    administrators = configuration.admin.administrators
    resp = configuration.resp
    sharedMemory = configuration.sharedMemory
    windowsMax = configuration.connectionsMax
    trustsRDMA = configuration.rdma.isTrusted
    self.security = security
  }
}

/// The live values, replaced as a whole; callable from any thread.
package final class LiveSettings: Sendable {
  private let current: Guarded<LiveValues>

  /// Starts with `values`.
  package init(_ values: LiveValues) { current = Guarded(values) }

  /// The values now.
  package var values: LiveValues { current.withLock { $0 } }

  /// Lets other values hold from now on.
  package func replace(_ values: LiveValues) { current.withLock { $0 = values } }
}
