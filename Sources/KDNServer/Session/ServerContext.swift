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
  /// Largest object that can be made durable; nil without a disk tier.
  let durableBytesMax: Int?
  /// 16 random bytes that name this run of the daemon.
  let serverID: [UInt8]
  /// Name and version, for clients.
  let serverName = "kdnd/\(Version.text)"
  private let readRate = Guarded(ReadRate())
  private let draining = Atomic<Bool>(false)
  private let nextOwner = Atomic<UInt64>(1)

  init(
    storage: Storage, configuration: ServerConfiguration, log: Logger, report: StatisticsReporter
  ) {
    self.pool = storage.pool
    self.limits = configuration.limits
    self.durableBytesMax = storage.durableBytesMax
    self.connectionsMax = configuration.connectionsMax
    self.authenticator = Authenticator(configuration)
    self.log = log
    self.report = report
    self.serverID = (0..<16).map { _ in UInt8.random(in: 0...255) }
  }

  /// True once the daemon is going away.
  var isDraining: Bool { draining.load(ordering: .acquiring) }

  func startDraining() { draining.store(true, ordering: .releasing) }

  /// Notes how long a request waited for `bytes` from disk.
  func noteRead(_ bytes: Int, nanoseconds: UInt64) {
    guard bytes >= ReadRate.bytesMin else { return }
    readRate.withLock { $0.note(bytes, nanoseconds: nanoseconds) }
  }

  /// How long reading `bytes` from disk will take; 0 for none, nil while that is unknown.
  func readMicroseconds(for bytes: Int) -> UInt64? {
    bytes == 0 ? 0 : readRate.withLock { $0.microseconds(for: bytes) }
  }

  /// A name for a new connection, never used before in this run.
  func makeOwner() -> OwnerID {
    OwnerID(number: nextOwner.wrappingAdd(1, ordering: .relaxed).oldValue)
  }
}
