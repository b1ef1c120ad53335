package import KDNControl

/// What happened between two reports of the same run.
package struct HistoryInterval {
  /// Operations whose latency is kept; the others are too rare or too alike to be drawn.
  package static let timedOperations = ["GET", "PUT_COMMIT", "MATCH", "EXISTS"]

  private let before: DaemonReport
  private let now: DaemonReport
  private let seconds: Double

  /// Compares two reports; nil if no time has passed between them.
  package init?(from before: DaemonReport, to now: DaemonReport) {
    seconds = now.uptimeSeconds - before.uptimeSeconds
    guard seconds > 0 else { return nil }
    self.before = before
    self.now = now
  }

  /// The value of every line of which something is known.
  package func values() -> [HistorySeries: Float] {
    var values: [HistorySeries: Float] = [:]
    addTraffic(to: &values)
    addLookups(to: &values)
    addLatencies(to: &values)
    addPlaces(to: &values)
    values[.init(.residentBytes)] = Float(now.process.residentBytes)
    values[.init(.cores)] = Float((now.process.cpuSeconds - before.process.cpuSeconds) / seconds)
    return values
  }

  private func addTraffic(to values: inout [HistorySeries: Float]) {
    let connections = (before.connections, now.connections)
    values[.init(.bytesPerSecond, "sent")] = rate(
      connections.0.sentBytesTotal, connections.1.sentBytesTotal)
    values[.init(.bytesPerSecond, "received")] = rate(
      connections.0.receivedBytesTotal, connections.1.receivedBytesTotal)
    var errors: [String: (before: UInt64, now: UInt64)] = [:]
    for operation in now.operations {
      let earlier = earlierOperation(operation.name)
      values[.init(.requestsPerSecond, operation.name)] = rate(
        earlier?.requestsTotal ?? 0, operation.requestsTotal)
      for (status, count) in operation.errorsTotal {
        errors[status, default: (0, 0)].now += count
        errors[status, default: (0, 0)].before += earlier?.errorsTotal[status] ?? 0
      }
    }
    for (status, totals) in errors {
      values[.init(.errorsPerSecond, status)] = rate(totals.before, totals.now)
    }
    for link in now.links {
      values[.init(.connections, link.kind)] = Float(link.open)
    }
  }

  private func addLookups(to values: inout [HistorySeries: Float]) {
    let ram = increase(hits(of: "ram", in: before), hits(of: "ram", in: now))
    let disk = increase(hits(of: "disk", in: before), hits(of: "disk", in: now))
    var lookups = ram + disk
    for (cause, count) in now.pool.missesTotal {
      let earlier = before.pool.missesTotal[cause] ?? 0
      values[.init(.missesPerSecond, cause)] = rate(earlier, count)
      lookups += increase(earlier, count)
    }
    guard lookups > 0 else { return }
    values[.init(.hitRatio, "ram")] = Float(ram / lookups)
    values[.init(.hitRatio, "all")] = Float((ram + disk) / lookups)
    if now.disk != nil { values[.init(.hitRatio, "disk")] = Float(disk / lookups) }
  }

  private func addLatencies(to values: inout [HistorySeries: Float]) {
    for operation in now.operations where Self.timedOperations.contains(operation.name) {
      let times = LatencyInterval(
        from: earlierOperation(operation.name)?.latency, to: operation.latency)
      values[.init(.latencyP50, operation.name)] = times.microseconds(at: 0.5).map { Float($0) }
      values[.init(.latencyP90, operation.name)] = times.microseconds(at: 0.9).map { Float($0) }
      values[.init(.latencyP99, operation.name)] = times.microseconds(at: 0.99).map { Float($0) }
    }
  }

  private func addPlaces(to values: inout [HistorySeries: Float]) {
    for kind in Set(now.tiers.map(\.kind)) {
      let tiers = now.tiers.filter { $0.kind == kind }
      let capacity = tiers.reduce(0) { $0 + $1.capacityBytes }
      let used = tiers.reduce(0) { $0 + $1.usedBytes }
      if capacity > 0 { values[.init(.usedRatio, kind)] = Float(used) / Float(capacity) }
      values[.init(.evictionsPerSecond, kind)] = rate(
        evictions(of: kind, in: before), evictions(of: kind, in: now))
    }
    let kept = now.codecs.reduce(0) { $0 + $1.bytes }
    let raw = now.codecs.reduce(0) { $0 + $1.rawBytes }
    if kept > 0 { values[.init(.codecRatio)] = Float(raw) / Float(kept) }
    guard let disk = now.disk else { return }
    values[.init(.diskBytesPerSecond, "read")] = rate(
      before.disk?.readBytesTotal ?? 0, disk.readBytesTotal)
    values[.init(.diskBytesPerSecond, "written")] = rate(
      before.disk?.writtenBytesTotal ?? 0, disk.writtenBytesTotal)
  }

  private func earlierOperation(_ name: String) -> OperationReport? {
    before.operations.first { $0.name == name }
  }

  /// All tiers of a kind report the same number of hits.
  private func hits(of kind: String, in report: DaemonReport) -> UInt64 {
    report.tiers.first { $0.kind == kind }?.hitsTotal ?? 0
  }

  private func evictions(of kind: String, in report: DaemonReport) -> UInt64 {
    report.tiers.reduce(0) { $0 + ($1.kind == kind ? $1.evictionsTotal : 0) }
  }

  /// A report is not taken in one instant, so that a sum of counters may seem to fall.
  private func increase(_ before: UInt64, _ now: UInt64) -> Double {
    now > before ? Double(now - before) : 0
  }

  private func rate(_ before: UInt64, _ now: UInt64) -> Float {
    Float(increase(before, now) / seconds)
  }
}
