internal import KDNControl
internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import Logging
internal import Synchronization

/// What all sessions of a daemon share.
final class ServerContext: Sendable {
  let pool: Pool
  /// What a reload changes; a connection keeps the limits that it began with.
  let settings: LiveSettings
  /// Who may enter which namespace.
  let tenants: TenantDirectory
  /// Limits of connections and rates, by tenant.
  let admission: Admission
  let counters = ServerCounters()
  let links = LinkCounters()
  /// What is known of namespaces to clients of Redis.
  let keyspaces: RESPKeyspaces
  let operations = OperationTimes()
  /// Jobs for workers, of all namespaces.
  let work: WorkQueues
  /// What GET has sent in which form.
  let deliveries = DeliveryCounters()
  /// Orders for blends that were refused before the pool saw them.
  let blends = BlendCounters()
  /// What codecs learned, as far as it is in use.
  let profiles = CodecProfiles()
  /// Memory shared with clients on this host.
  let sharedMemory: SharedMemory
  /// Tickets by which clients come in over another link.
  let tickets = Guarded(TicketTable())
  let slowLog: SlowLog
  let log: Logger
  let report: StatisticsReporter
  /// Largest object that can be made durable; nil without a disk tier.
  let durableBytesMax: Int?
  /// 16 random bytes that name this run of the daemon.
  let serverID: [UInt8]
  /// Name and version, for clients.
  let serverName = "kdnd/\(Version.text)"
  /// Connections above the cap that are told so with care; more at once are told and cut off.
  private static let surplusMax = 64
  private let readRate = Guarded(ReadRate())
  private let attempts = Guarded(AttemptLimiter())
  private let served = Guarded(
    LinkOffers([], hasSharedMemory: false, hostID: LinkOffers.ownHostID()))
  private let draining = Atomic<Bool>(false)
  private let surplus = Atomic<Int>(0)
  private let nextOwner = Atomic<UInt64>(1)

  init(
    storage: Storage, settings: LiveSettings, tenants: TenantDirectory, log: Logger,
    report: StatisticsReporter
  ) {
    self.pool = storage.pool
    keyspaces = RESPKeyspaces(pool: storage.pool)
    work = WorkQueues(pool: storage.pool)
    self.settings = settings
    self.tenants = tenants
    self.admission = Admission { [tenants] in tenants.limits(of: $0) }
    self.slowLog = SlowLog(thresholdMilliseconds: settings.values.slowRequestMilliseconds)
    self.durableBytesMax = storage.durableBytesMax
    self.log = log
    self.report = report
    self.sharedMemory = storage.sharedMemory
    self.serverID = (0..<16).map { _ in UInt8.random(in: 0...255) }
  }

  /// Where the daemon can be reached.
  var offers: LinkOffers { served.withLock { $0 } }

  /// Tells where the daemon can be reached, before any client can ask.
  func setOffers(_ offers: LinkOffers) { served.withLock { $0 = offers } }

  /// Memory shared with clients; nil without a Unix socket over which they could ask for it.
  var sharedMemoryReport: SharedMemoryReport? {
    offers.kinds.contains(.unix) ? sharedMemory.report : nil
  }

  /// Limits of a connection that begins now.
  var limits: Limits { settings.values.limits }
  /// Connections served at once.
  var connectionsMax: Int { settings.values.connectionsMax }

  /// Notes that a HELLO of `peer` will be refused.
  ///
  /// - Returns: when to answer it; nil for not at all.
  func refused(_ peer: PeerAddress, now: Instant, deadline: Instant) -> Instant? {
    attempts.withLock { $0.refused(peer, now: now, deadline: deadline) }
  }

  /// True once the daemon is going away.
  var isDraining: Bool { draining.load(ordering: .acquiring) }

  func startDraining() { draining.store(true, ordering: .releasing) }

  /// Takes a place for one more connection that is only told why it is not served, if there is one.
  func admitSurplus() -> Bool {
    guard surplus.add(1, ordering: .relaxed).newValue > Self.surplusMax else { return true }
    surplus.subtract(1, ordering: .relaxed)
    return false
  }

  func surplusEnded() { surplus.subtract(1, ordering: .relaxed) }

  /// Notes how long a request waited for `bytes` from disk.
  func noteRead(_ bytes: Int, nanoseconds: UInt64) {
    guard bytes >= ReadRate.bytesMin else { return }
    readRate.withLock { $0.note(bytes, nanoseconds: nanoseconds) }
  }

  /// How long reading `bytes` from disk will take; 0 for none, nil while that is unknown.
  func readMicroseconds(for bytes: Int) -> UInt64? {
    bytes == 0 ? 0 : readRate.withLock { $0.microseconds(for: bytes) }
  }

  /// Bytes a second that come from disk, with care as long as that is unknown.
  var readPerSecond: Double { readRate.withLock { $0.perSecond } }

  /// A name for a new connection, never used before in this run.
  func makeOwner() -> OwnerID {
    OwnerID(number: nextOwner.wrappingAdd(1, ordering: .relaxed).oldValue)
  }
}
