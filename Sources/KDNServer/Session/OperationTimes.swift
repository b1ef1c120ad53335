internal import Histogram
internal import KDNControl
internal import KDNCore
internal import KDNWire

/// How long requests took and how they ended, by operation; loops count in tables of their own, so
/// that they do not wait for each other.
final class OperationTimes: Sendable {
  private let tables: [LoopTimes]

  /// Tables; more loops than that share some.
  private static let tablesMax = 16

  init() {
    tables = (0..<Self.tablesMax).map { _ in LoopTimes() }
  }

  /// The table of the loop with this number, from 0.
  subscript(loop number: Int) -> LoopTimes { tables[number % tables.count] }

  /// All loops together: the operations that were asked for at least once, in their numbers' order.
  var reports: [OperationReport] {
    Operation.allCases.compactMap { operation in
      var sum = OperationRecord()
      for table in tables { table.add(operation, to: &sum) }
      return sum.requests == 0 ? nil : OperationReport(operation, sum)
    }
  }
}

/// The table of one loop.
final class LoopTimes: Sendable {
  private let records: Guarded<[OperationRecord]>

  init() {
    // By the operations' numbers, with holes: a table costs no look-up.
    let count = 1 + Int(Operation.allCases.map(\.rawValue).max() ?? 0)
    records = Guarded(Array(repeating: OperationRecord(), count: count))
  }

  /// Counts a request that was answered `nanoseconds` after it had arrived.
  func count(_ operation: Operation, _ status: Status, nanoseconds: UInt64) {
    records.withLock { $0[Int(operation.rawValue)].count(status, nanoseconds: nanoseconds) }
  }

  /// Adds what this loop has seen; the loop waits no longer than one operation's sum takes.
  fileprivate func add(_ operation: Operation, to sum: inout OperationRecord) {
    records.withLock { sum.add($0[Int(operation.rawValue)]) }
  }
}

/// What was seen of one operation.
struct OperationRecord: Sendable {
  /// Longer ones count as this long: deadlines end sooner.
  private static let longestMicroseconds: UInt64 = 3_600_000_000
  private static let bounds = LatencyReport.bucketMicroseconds

  fileprivate(set) var requests: UInt64 = 0
  fileprivate(set) var sumNanoseconds: UInt64 = 0
  fileprivate(set) var longestNanoseconds: UInt64 = 0
  /// By the status' number.
  fileprivate(set) var statuses: [UInt64] = []
  /// By the first bound that is not exceeded; one more than there are bounds.
  fileprivate(set) var buckets: [UInt64] = []
  /// In microseconds, for percentiles; made when the first request is counted.
  fileprivate(set) var latencies: Histogram<UInt64>?

  fileprivate mutating func count(_ status: Status, nanoseconds: UInt64) {
    prepare()
    requests += 1
    statuses[Int(status.rawValue)] += 1
    let (sum, overflow) = sumNanoseconds.addingReportingOverflow(nanoseconds)
    sumNanoseconds = overflow ? .max : sum
    longestNanoseconds = max(longestNanoseconds, nanoseconds)
    buckets[Self.bucket(of: nanoseconds)] += 1
    latencies?.record(min(Self.microseconds(nanoseconds), Self.longestMicroseconds))
  }

  fileprivate mutating func add(_ other: OperationRecord) {
    guard let others = other.latencies else { return }
    prepare()
    requests += other.requests
    let (sum, overflow) = sumNanoseconds.addingReportingOverflow(other.sumNanoseconds)
    sumNanoseconds = overflow ? .max : sum
    longestNanoseconds = max(longestNanoseconds, other.longestNanoseconds)
    for (index, count) in other.statuses.enumerated() { statuses[index] += count }
    for (index, count) in other.buckets.enumerated() { buckets[index] += count }
    latencies?.add(others)
  }

  private mutating func prepare() {
    guard latencies == nil else { return }
    statuses = Array(repeating: 0, count: 1 + Int(Status.allCases.map(\.rawValue).max() ?? 0))
    buckets = Array(repeating: 0, count: Self.bounds.count + 1)
    latencies = Histogram(
      highestTrackableValue: Self.longestMicroseconds, numberOfSignificantValueDigits: .two)
  }

  /// Whole microseconds, rounded up.
  fileprivate static func microseconds(_ nanoseconds: UInt64) -> UInt64 {
    nanoseconds / 1000 + (nanoseconds % 1000 == 0 ? 0 : 1)
  }

  private static func bucket(of nanoseconds: UInt64) -> Int {
    var low = 0
    var high = bounds.count
    while low < high {
      let middle = (low + high) / 2
      if nanoseconds <= bounds[middle] * 1000 { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

extension OperationReport {
  /// One operation's numbers as they are reported.
  init(_ operation: Operation, _ record: OperationRecord) {
    var errors: [String: UInt64] = [:]
    for status in Status.allCases where status != .ok {
      let count = record.statuses[Int(status.rawValue)]
      if count > 0 { errors[status.name] = count }
    }
    self.init(
      name: operation.name, requestsTotal: record.requests, errorsTotal: errors,
      latency: LatencyReport(record))
  }
}

extension LatencyReport {
  fileprivate init(_ record: OperationRecord) {
    var total: UInt64 = 0
    let cumulative = record.buckets.map { count in
      total += count
      return total
    }
    let longest = OperationRecord.microseconds(record.longestNanoseconds)
    func percentile(_ percent: Double) -> UInt64 {
      // The histogram's steps end above the longest that was seen.
      min(longest, record.latencies?.valueAtPercentile(percent) ?? 0)
    }
    self.init(
      count: record.requests, sumMicroseconds: record.sumNanoseconds / 1000,
      p50Microseconds: percentile(50), p90Microseconds: percentile(90),
      p99Microseconds: percentile(99), p999Microseconds: percentile(99.9),
      maxMicroseconds: longest, bucketCounts: cumulative)
  }
}
