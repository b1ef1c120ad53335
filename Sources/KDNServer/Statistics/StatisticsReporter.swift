internal import FoundationEssentials
internal import Glibc
internal import KDNControl
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTier

/// Writes the answer of STATS: JSON with a versioned schema.
final class StatisticsReporter: Sendable {
  /// Grows when a field changes its meaning or goes; new fields leave it as it is.
  private static let schema = 1
  private let arena: Arena
  private let tier: DiskTier?
  private let started = SystemClock().now()

  init(arena: Arena, tier: DiskTier?) {
    self.arena = arena
    self.tier = tier
  }

  /// The numbers now, as UTF-8 JSON; of other namespaces nothing is told.
  func json(pool: Pool, counters: ServerCounters, namespace: Namespace) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    let report = StatisticsReport(
      schema: Self.schema, version: Version.text,
      uptimeSeconds: Double(SystemClock().now().nanoseconds(since: started)) / 1e9,
      process: OwnProcessReport.current(), memory: MemoryReport(arena),
      pool: PoolReport(pool.statistics),
      namespace: OwnNamespaceReport(namespace, pool.statistics),
      connections: counters.snapshot,
      disk: tier.map { DiskReport($0.statistics, pool.writeBehind) })
    do {
      return String(decoding: try encoder.encode(report), as: UTF8.self)
    } catch {
      preconditionFailure("numbers could not be written as JSON: \(error)")
    }
  }
}

/// All of STATS.
private struct StatisticsReport: Codable {
  let schema: Int
  let version: String
  let uptimeSeconds: Double
  let process: OwnProcessReport
  let memory: MemoryReport
  let pool: PoolReport
  let namespace: OwnNamespaceReport
  let connections: ConnectionReport
  let disk: DiskReport?
}

/// What the process has used.
private struct OwnProcessReport: Codable {
  let pid: Int32
  let cpuSeconds: Double
  let residentBytesMax: Int

  static func current() -> OwnProcessReport {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    let user = Double(usage.ru_utime.tv_sec) + Double(usage.ru_utime.tv_usec) / 1e6
    let system = Double(usage.ru_stime.tv_sec) + Double(usage.ru_stime.tv_usec) / 1e6
    return OwnProcessReport(
      pid: getpid(), cpuSeconds: user + system, residentBytesMax: usage.ru_maxrss << 10)
  }
}

/// The part of STATS that speaks of the asker's own namespace.
private struct OwnNamespaceReport: Codable {
  let name: String
  let objects: Int
  let bytes: Int
  let generation: UInt64

  init(_ namespace: Namespace, _ statistics: PoolStatistics) {
    let share = statistics.namespaces.first { $0.name == namespace.name }
    name = namespace.name.text
    objects = share?.objects ?? 0
    bytes = share?.bytes ?? 0
    generation = namespace.generation
  }
}
