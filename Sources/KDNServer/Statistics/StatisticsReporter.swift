internal import KDNControl
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTier

/// Writes the answer of STATS: JSON with a versioned schema.
///
/// Whoever is alone, and everybody in the development namespace, sees the whole daemon; a tenant
/// among others sees its own namespace and nothing that others could be guessed from.
final class StatisticsReporter: Sendable {
  private let arena: Arena
  private let tier: DiskTier?
  /// nil: all askers see all.
  private let keeper: (any ConfigurationKeeping)?
  private let started = SystemClock().now()

  init(arena: Arena, tier: DiskTier?, keeper: (any ConfigurationKeeping)? = nil) {
    self.arena = arena
    self.tier = tier
    self.keeper = keeper
  }

  /// The numbers now, as UTF-8 JSON; of other namespaces nothing is told.
  func json(_ context: ServerContext, namespace: Namespace) -> String {
    let pool = context.pool
    let own = OwnNamespaceReport(pool.share(of: namespace))
    guard seesAll(namespace.name) else {
      return text(
        TenantStatistics(
          schema: DaemonReport.schemaNow, version: Version.text, uptimeSeconds: uptimeSeconds,
          namespace: own))
    }
    let statistics = pool.statistics
    return text(
      DaemonStatistics(
        schema: DaemonReport.schemaNow, version: Version.text, uptimeSeconds: uptimeSeconds,
        process: .own(), memory: MemoryReport(arena), pool: PoolReport(statistics),
        namespace: own, connections: context.counters.snapshot, links: context.links.reports,
        sharedMemory: context.sharedMemoryReport.map(\.withoutConnections),
        disk: tier.map { DiskReport($0.statistics, statistics.writeBehind) },
        documents: DocumentReport(pool),
        blends: BlendReport(pool.blendStatistics, context.blends), work: context.work.report))
  }

  /// How long the daemon has run.
  var uptimeWholeSeconds: UInt64 { UInt64(uptimeSeconds) }

  private var uptimeSeconds: Double {
    Double(SystemClock().now().nanoseconds(since: started)) / 1e9
  }

  /// Looked up each time: tenants come and go while the daemon runs.
  private func seesAll(_ name: NamespaceName) -> Bool {
    guard let keeper else { return true }
    return keeper.isDevelopment(name) || keeper.limits().count <= 1
  }

  private func text(_ value: some Encodable) -> String {
    String(decoding: ControlJSON.encode(value), as: UTF8.self)
  }
}

/// All of STATS.
private struct DaemonStatistics: Encodable {
  let schema: Int
  let version: String
  let uptimeSeconds: Double
  let process: ProcessReport
  let memory: MemoryReport
  let pool: PoolReport
  let namespace: OwnNamespaceReport
  let connections: ConnectionReport
  let links: [LinkReport]
  let sharedMemory: SharedMemoryReport?
  let disk: DiskReport?
  let documents: DocumentReport
  let blends: BlendReport
  let work: WorkReport
}

/// What a tenant among others may know.
private struct TenantStatistics: Encodable {
  let schema: Int
  let version: String
  let uptimeSeconds: Double
  let namespace: OwnNamespaceReport
}

/// The part of STATS that speaks of the asker's own namespace: `NamespaceReport` and, beside it,
/// the names that schema 1 began with.
private struct OwnNamespaceReport: Encodable {
  /// Objects in RAM.
  let objects: Int
  /// Their bytes, reservations not included.
  let bytes: Int
  let report: NamespaceReport

  init(_ share: PoolStatistics.NamespaceShare) {
    objects = share.objects
    bytes = share.bytes
    report = NamespaceReport(share)
  }

  private enum CodingKeys: String, CodingKey {
    case objects, bytes
  }

  func encode(to encoder: any Encoder) throws {
    try report.encode(to: encoder)
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(objects, forKey: .objects)
    try container.encode(bytes, forKey: .bytes)
  }
}
