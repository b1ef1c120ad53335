internal import Histogram
internal import KDNCore

/// What one worker has seen in the timed part.
struct WorkerRecord: Sendable {
  /// Nanoseconds of each operation.
  var latencies = Histogram<UInt64>(highestTrackableValue: longestNanoseconds)
  /// Operations done.
  var operations = 0
  /// Bytes of objects moved.
  var bytes = 0
  /// Objects, keys or chunks that were not there.
  var misses = 0
  /// When the last operation ended.
  var end = Instant(nanoseconds: 0)

  private static let longestNanoseconds: UInt64 = 120_000_000_000

  /// Adds what another worker has seen at the same time.
  mutating func add(_ other: WorkerRecord) {
    latencies.add(other.latencies)
    operations += other.operations
    bytes += other.bytes
    misses += other.misses
    end = max(end, other.end)
  }
}

/// One target's result in one round.
struct Sample: Sendable {
  /// Length of the timed part.
  let seconds: Double
  /// What all workers together have seen.
  let record: WorkerRecord
  /// CPU seconds of this process.
  let clientCPU: Double
  /// CPU seconds of the target's process, nil if unknown.
  let serverCPU: Double?

  /// Object bytes per second, in units of 10^9.
  var gigabytesPerSecond: Double { gigabytes / seconds }
  /// Operations per second.
  var operationsPerSecond: Double { Double(record.operations) / seconds }
  /// Object bytes moved, in units of 10^9.
  var gigabytes: Double { Double(record.bytes) / 1e9 }

  /// The latency that `percent` of all operations did not exceed, in microseconds.
  func microseconds(percentile percent: Double) -> Double {
    Double(record.latencies.valueAtPercentile(percent)) / 1000
  }
}

/// The middle of several numbers, the mean of the two in the middle if they are even; nil if none.
func median(_ values: [Double]) -> Double? {
  guard !values.isEmpty else { return nil }
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
