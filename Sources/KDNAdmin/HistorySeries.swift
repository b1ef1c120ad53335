/// One line of a chart: what is counted, and of which operation, tier, cause or link.
package struct HistorySeries: Hashable, Sendable {
  /// What the values are, unit last.
  package enum Name: String, Sendable, CaseIterable {
    /// Payload and frames; labels `sent` and `received`.
    case bytesPerSecond = "bytes_per_second"
    /// By operation.
    case requestsPerSecond = "requests_per_second"
    /// By status.
    case errorsPerSecond = "errors_per_second"
    /// Share of the lookups that `ram`, `disk` or either, `all`, answered; none without lookups.
    case hitRatio = "hit_ratio"
    /// By cause.
    case missesPerSecond = "misses_per_second"
    /// By kind of tier.
    case evictionsPerSecond = "evictions_per_second"
    /// By operation, of the requests that ended within the interval; none without any.
    case latencyP50 = "latency_p50_microseconds"
    /// The same.
    case latencyP90 = "latency_p90_microseconds"
    /// The same.
    case latencyP99 = "latency_p99_microseconds"
    /// Share of the capacity that is used, by kind of tier.
    case usedRatio = "used_ratio"
    /// Connections that are open, by kind of link.
    case connections
    /// Bytes that the objects would take raw by the bytes that they take; none without objects.
    case codecRatio = "codec_ratio"
    /// Labels `read` and `written`.
    case diskBytesPerSecond = "disk_bytes_per_second"
    /// Resident memory of the process.
    case residentBytes = "resident_bytes"
    /// Cores that the process kept busy.
    case cores
  }

  /// What the values are.
  package let name: Name
  /// Of what they are; empty if there is only one.
  package let label: String

  /// Names a line.
  package init(_ name: Name, _ label: String = "") {
    self.name = name
    self.label = label
  }
}
