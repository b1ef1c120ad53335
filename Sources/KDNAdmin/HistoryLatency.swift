package import KDNControl

/// How long the requests took that ended between two reports, as far as the buckets tell.
package struct LatencyInterval {
  private let counts: [UInt64]

  /// Subtracts the counts of the earlier report, or nothing if there was none.
  package init(from before: LatencyReport?, to now: LatencyReport) {
    let earlier = before?.bucketCounts ?? []
    counts = now.bucketCounts.enumerated().map { index, count in
      let known = index < earlier.count ? earlier[index] : 0
      return count > known ? count - known : 0
    }
  }

  /// The time that this share of the requests did not exceed, linear within a bucket as
  /// Prometheus' `histogram_quantile` has it; nil if there were none.
  package func microseconds(at share: Double) -> Double? {
    guard let count = counts.last, count > 0 else { return nil }
    let bounds = LatencyReport.bucketMicroseconds
    let rank = share * Double(count)
    guard let bucket = counts.firstIndex(where: { Double($0) >= rank && $0 > 0 }) else {
      return nil
    }
    guard bucket < bounds.count else { return bounds.last.map { Double($0) } }
    let lowest = bucket > 0 ? Double(bounds[bucket - 1]) : 0
    let below = bucket > 0 ? Double(counts[bucket - 1]) : 0
    let within = Double(counts[bucket]) - below
    guard within > 0 else { return Double(bounds[bucket]) }
    return lowest + (Double(bounds[bucket]) - lowest) * (rank - below) / within
  }
}
