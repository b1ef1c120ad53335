internal import KDNControl

/// What changed between two reports, by the second.
struct TopRates {
  /// Bytes a second.
  let received, sent: Double
  /// Requests a second.
  let requests, errors: Double
  /// Objects a second.
  let evictions: Double
  /// Cores in use.
  let cpu: Double
  /// Objects found and not found between the two, of all tenants.
  let hits: (hits: UInt64, misses: UInt64)
  private let before: DaemonReport?
  private let seconds: Double

  /// Rates of `now` since `before`, over the whole run without it.
  init(_ now: DaemonReport, since before: DaemonReport?) {
    // A daemon that was started anew has counted from 0 for as long as it is up.
    let before = before.flatMap { $0.uptimeSeconds < now.uptimeSeconds ? $0 : nil }
    let seconds = max(0.001, now.uptimeSeconds - (before?.uptimeSeconds ?? 0))
    func rate(_ value: (DaemonReport) -> UInt64) -> Double {
      Double(Self.difference(value(now), before.map(value))) / seconds
    }
    received = rate { $0.connections.receivedBytesTotal }
    sent = rate { $0.connections.sentBytesTotal }
    requests = rate { $0.connections.requestsTotal }
    errors = rate { $0.connections.errorsTotal }
    evictions = rate { $0.pool.evictionsTotal }
    cpu = max(0, now.process.cpuSeconds - (before?.process.cpuSeconds ?? 0)) / seconds
    hits = (
      Self.difference(Self.hits(now), before.map(Self.hits)),
      Self.difference(Self.misses(now), before.map(Self.misses))
    )
    self.before = before
    self.seconds = seconds
  }

  /// Requests a second of one kind.
  func requests(of operation: OperationReport) -> Double {
    let known = before?.operations.first { $0.name == operation.name }?.requestsTotal
    return Double(Self.difference(operation.requestsTotal, known)) / seconds
  }

  /// Requests a second of one tenant.
  func requests(of namespace: NamespaceReport) -> Double {
    let known = earlier(namespace)?.requestsTotal
    return Double(Self.difference(namespace.requestsTotal, known)) / seconds
  }

  /// Objects found and not found by one tenant between the two reports.
  func hits(of namespace: NamespaceReport) -> (hits: UInt64, misses: UInt64) {
    let known = earlier(namespace)
    return (
      Self.difference(Self.hits(namespace), known.map(Self.hits)),
      Self.difference(Self.misses(namespace), known.map(Self.misses))
    )
  }

  /// How far a counter went; one that went back has begun anew.
  static func difference(_ now: UInt64, _ before: UInt64?) -> UInt64 {
    let before = before ?? 0
    return now >= before ? now - before : now
  }

  private func earlier(_ namespace: NamespaceReport) -> NamespaceReport? {
    before?.namespaces.first { $0.name == namespace.name }
  }

  private static func hits(_ report: DaemonReport) -> UInt64 {
    report.namespaces.reduce(0) { $0 + hits($1) }
  }

  private static func misses(_ report: DaemonReport) -> UInt64 {
    report.namespaces.reduce(0) { $0 + misses($1) }
  }

  private static func hits(_ namespace: NamespaceReport) -> UInt64 {
    namespace.ramHitsTotal + namespace.diskHitsTotal
  }

  private static func misses(_ namespace: NamespaceReport) -> UInt64 {
    namespace.missesTotal.values.reduce(0, +)
  }
}
