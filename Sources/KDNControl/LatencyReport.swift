/// How long something took, as percentiles and as cumulative counts for Prometheus.
package struct LatencyReport: Codable, Sendable {
  /// Upper bounds of the buckets in microseconds, the same for every report; the last bucket of
  /// `bucketCounts` is that of all.
  package static let bucketMicroseconds: [UInt64] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 10_000_000,
  ]

  /// How many were measured.
  package var count: UInt64
  /// All of them together.
  package var sumMicroseconds: UInt64
  /// Half took no longer.
  package var p50Microseconds: UInt64
  /// Nine in ten took no longer.
  package var p90Microseconds: UInt64
  /// All but one in a hundred took no longer.
  package var p99Microseconds: UInt64
  /// All but one in a thousand took no longer.
  package var p999Microseconds: UInt64
  /// The longest.
  package var maxMicroseconds: UInt64
  /// How many took no longer than each bound; one more than there are bounds.
  package var bucketCounts: [UInt64]

  /// Puts the numbers together.
  package init(
    count: UInt64, sumMicroseconds: UInt64, p50Microseconds: UInt64, p90Microseconds: UInt64,
    p99Microseconds: UInt64, p999Microseconds: UInt64, maxMicroseconds: UInt64,
    bucketCounts: [UInt64]
  ) {
    self.count = count
    self.sumMicroseconds = sumMicroseconds
    self.p50Microseconds = p50Microseconds
    self.p90Microseconds = p90Microseconds
    self.p99Microseconds = p99Microseconds
    self.p999Microseconds = p999Microseconds
    self.maxMicroseconds = maxMicroseconds
    self.bucketCounts = bucketCounts
  }
}

/// One operation of the protocol.
package struct OperationReport: Codable, Sendable {
  /// As the protocol calls it, for example `GET`.
  package var name: String
  /// Requests answered.
  package var requestsTotal: UInt64
  /// By the name of the status, for example `busy`; only those that occurred.
  package var errorsTotal: [String: UInt64]
  /// From the arrival of the whole request until its answer was queued, waits included.
  package var latency: LatencyReport

  /// Puts the numbers together.
  package init(
    name: String, requestsTotal: UInt64, errorsTotal: [String: UInt64], latency: LatencyReport
  ) {
    self.name = name
    self.requestsTotal = requestsTotal
    self.errorsTotal = errorsTotal
    self.latency = latency
  }
}
