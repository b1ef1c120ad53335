internal import KDNCore
internal import KDNPool
internal import Logging
internal import Synchronization

/// What all sessions of a daemon share.
final class ServerContext: Sendable {
  let pool: Pool
  let limits: Limits
  let connectionsMax: Int
  let authenticator: Authenticator
  let counters = ServerCounters()
  let log: Logger
  let report: StatisticsReporter
  /// 16 random bytes that name this run of the daemon.
  let serverID: [UInt8]
  /// Name and version, for clients.
  let serverName = "kdnd/\(Version.text)"
  private let draining = Atomic<Bool>(false)
  private let nextOwner = Atomic<UInt64>(1)

  init(
    pool: Pool, configuration: ServerConfiguration, log: Logger, report: StatisticsReporter
  ) {
    self.pool = pool
    self.limits = configuration.limits
    self.connectionsMax = configuration.connectionsMax
    self.authenticator = Authenticator(configuration)
    self.log = log
    self.report = report
    self.serverID = (0..<16).map { _ in UInt8.random(in: 0...255) }
  }

  /// True once the daemon is going away.
  var isDraining: Bool { draining.load(ordering: .acquiring) }

  func startDraining() { draining.store(true, ordering: .releasing) }

  /// A name for a new connection, never used before in this run.
  func makeOwner() -> OwnerID {
    OwnerID(number: nextOwner.wrappingAdd(1, ordering: .relaxed).oldValue)
  }
}
