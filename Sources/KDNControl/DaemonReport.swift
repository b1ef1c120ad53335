/// The numbers of a daemon at about one moment; `GET /stats` as JSON, the source of `/metrics`.
///
/// Names that end in `total` only grow while the process lives. As JSON, names are in snake case.
package struct DaemonReport: Codable, Sendable {
  /// Grows when a field changes its meaning or goes; new fields leave it as it is.
  package static let schemaNow = 1

  /// What the daemon is doing.
  package enum State: String, Codable, Sendable {
    /// Serves, but does not know yet all that is on disk.
    case recovering
    case ready
    /// Ends when what is in flight has been answered.
    case draining
  }

  /// `schemaNow` of the daemon that made the report.
  package var schema: Int = schemaNow
  /// Version of the daemon.
  package var version: String
  /// What the daemon is doing.
  package var state: State
  /// Since the daemon was put together.
  package var uptimeSeconds: Double
  /// When the report was made, in milliseconds since 1970.
  package var unixMilliseconds: UInt64
  /// What the process has used of the machine.
  package var process: ProcessReport
  /// The arena.
  package var memory: MemoryReport
  /// All objects in RAM.
  package var pool: PoolReport
  /// RAM first, then each disk directory.
  package var tiers: [TierReport]
  /// nil without a disk tier.
  package var disk: DiskReport?
  /// One for each kind of link that is served: `tcp`, `tls`, `unix`, `shm`, `rdma`, `resp`.
  package var links: [LinkReport]
  /// Memory shared with clients on this host; nil without a Unix socket.
  package var sharedMemory: SharedMemoryReport?
  /// One for each operation of the protocol that was asked for at least once.
  package var operations: [OperationReport]
  /// All connections together.
  package var connections: ConnectionReport
  /// In the order of their names.
  package var namespaces: [NamespaceReport]
  /// Forms in which KV is kept: raw bytes of a layout, and others by variant.
  package var codecs: [CodecReport]
  /// Forms in which objects are kept on disk; nil without a disk tier.
  package var diskCodecs: [CodecReport]?
  /// Encoding and decoding; nil from a daemon that does neither.
  package var coding: CodingReport?
  /// Documents that are known by name; nil from a daemon that does not count them.
  package var documents: DocumentReport?
  /// Blends of documents; nil from a daemon that makes none.
  package var blends: BlendReport?
  /// What GET has sent in which form; nil from a daemon that does not count it.
  package var delivery: DeliveryReport?
  /// Jobs kept for workers; nil from a daemon that keeps none.
  package var work: WorkReport?
  /// What came of reading the configuration anew.
  package var reload: ReloadState
  /// How many events there were.
  package var events: EventCounts

  /// Puts a report together.
  package init(
    version: String, state: State, uptimeSeconds: Double, unixMilliseconds: UInt64,
    process: ProcessReport, memory: MemoryReport, pool: PoolReport, tiers: [TierReport],
    disk: DiskReport?, links: [LinkReport], sharedMemory: SharedMemoryReport? = nil,
    operations: [OperationReport], connections: ConnectionReport,
    namespaces: [NamespaceReport], codecs: [CodecReport],
    diskCodecs: [CodecReport]? = nil, coding: CodingReport? = nil,
    documents: DocumentReport? = nil, blends: BlendReport? = nil,
    delivery: DeliveryReport? = nil, work: WorkReport? = nil,
    reload: ReloadState, events: EventCounts
  ) {
    self.version = version
    self.state = state
    self.uptimeSeconds = uptimeSeconds
    self.unixMilliseconds = unixMilliseconds
    self.process = process
    self.memory = memory
    self.pool = pool
    self.tiers = tiers
    self.disk = disk
    self.links = links
    self.sharedMemory = sharedMemory
    self.operations = operations
    self.connections = connections
    self.namespaces = namespaces
    self.codecs = codecs
    self.diskCodecs = diskCodecs
    self.coding = coding
    self.documents = documents
    self.blends = blends
    self.delivery = delivery
    self.work = work
    self.reload = reload
    self.events = events
  }
}

/// What came of reading the configuration anew.
package struct ReloadState: Codable, Sendable {
  /// Whether the last reload was applied; true before the first.
  package var lastSucceeded: Bool
  /// When it was, in milliseconds since 1970; that of the start before the first.
  package var lastUnixMilliseconds: UInt64
  /// Reloads that were applied.
  package var succeededTotal: UInt64
  /// Reloads that were refused.
  package var failedTotal: UInt64
  /// What was wrong with the last one; nil if nothing was.
  package var lastFault: String?

  /// Puts a state together.
  package init(
    lastSucceeded: Bool, lastUnixMilliseconds: UInt64, succeededTotal: UInt64,
    failedTotal: UInt64, lastFault: String? = nil
  ) {
    self.lastSucceeded = lastSucceeded
    self.lastUnixMilliseconds = lastUnixMilliseconds
    self.succeededTotal = succeededTotal
    self.failedTotal = failedTotal
    self.lastFault = lastFault
  }
}

/// How many events there were and were forgotten unread.
package struct EventCounts: Codable, Sendable {
  /// Events since the start.
  package var total: UInt64
  /// Serial of the newest event; 0 if there was none.
  package var newest: UInt64

  /// Puts the numbers together.
  package init(total: UInt64, newest: UInt64) {
    self.total = total
    self.newest = newest
  }
}
