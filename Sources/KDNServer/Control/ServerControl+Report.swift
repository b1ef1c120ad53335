package import KDNControl
internal import KDNCore
internal import KDNPool
internal import KDNTier

extension ServerControl {
  /// Takes time linear in namespaces, directories and operations, never in objects.
  package func report() -> DaemonReport {
    let pool = context.pool.statistics
    let disk = tier?.statistics
    return DaemonReport(
      version: Version.text, state: state,
      uptimeSeconds: Double(SystemClock().now().nanoseconds(since: started)) / 1e9,
      unixMilliseconds: SystemWallClock().milliseconds(), process: .own(),
      memory: MemoryReport(arena), pool: PoolReport(pool), tiers: TierReport.all(pool, disk),
      disk: disk.map { DiskReport($0, pool.writeBehind) }, links: context.links.reports,
      sharedMemory: context.sharedMemoryReport,
      operations: context.operations.reports, connections: context.counters.snapshot,
      namespaces: reports(of: pool.namespaces),
      codecs: pool.codecs.map { CodecReport($0) },
      diskCodecs: tier == nil ? nil : pool.diskCodecs.map { CodecReport($0) },
      coding: CodingReport(pool.coding, context.profiles.statistics),
      documents: DocumentReport(context.pool),
      blends: BlendReport(context.pool.blendStatistics, context.blends),
      delivery: context.deliveries.report, work: context.work.report,
      reload: keeper.reloadState, events: log.counts)
  }

  private var state: DaemonReport.State {
    if context.isDraining { return .draining }
    return context.pool.isTierReady ? .ready : .recovering
  }

  /// All tenants that are known, in the order of their names.
  private func reports(of shares: [PoolStatistics.NamespaceShare]) -> [NamespaceReport] {
    var unused = keeper.limits()
    for share in shares { unused[share.name] = nil }
    let idle = Array(unused)
    // Names and numbers are sorted, not reports: those are large. Idle ones follow the others.
    let names = shares.map(\.name.text) + idle.map(\.key.text)
    return names.indices.sorted { names[$0] < names[$1] }.map { number in
      guard number >= shares.count else { return NamespaceReport(shares[number]) }
      let (name, limits) = idle[number - shares.count]
      return NamespaceReport(unused: name, limits: limits)
    }
  }
}
