internal import FoundationEssentials

/// Writes results as they come: JSON lines, or a table for people.
struct BenchReport {
  /// Whether JSON lines are written.
  let isJSON: Bool

  private static let columns = [
    ("target", 16), ("link", 5), ("workload", 14), ("verify", 7), ("object", 8), ("round", 6),
    ("GB/s", 8), ("op/s", 10), ("p50 us", 10), ("p99 us", 10), ("p99.9 us", 10), ("misses", 7),
    ("client CPU s/GB", 16), ("server CPU s/GB", 16),
  ]

  /// Creates a report.
  init(isJSON: Bool) { self.isJSON = isJSON }

  /// Writes how the run was started and on what.
  func begin(_ run: BenchRun) throws {
    if isJSON { return try Output.line(run) }
    Output.line(Self.row(Self.columns.map(\.0)))
  }

  /// Writes one sample.
  func sample(
    _ target: any BenchTarget, round: Int, _ sample: Sample, of workload: Workload
  ) throws {
    let line = SampleLine(target, round: round, sample, workload)
    if isJSON { return try Output.line(line) }
    Output.line(
      Self.row([
        target.name, target.link ?? "-", workload.name, workload.verifies ? "on" : "off",
        Self.size(workload.objectBytes), "\(round)",
        Self.number(line.gigabytesPerSecond, 3), Self.number(line.operationsPerSecond, 0),
        Self.number(line.p50Microseconds, 1), Self.number(line.p99Microseconds, 1),
        Self.number(line.p999Microseconds, 1), "\(line.misses)",
        Self.number(line.clientCPUSecondsPerGigabyte, 4),
        Self.number(line.serverCPUSecondsPerGigabyte, 4),
      ]))
  }

  /// Writes what the first target's medians are to another's.
  func ratio(_ line: RatioLine) throws {
    if isJSON { return try Output.line(line) }
    let speed = line.throughputRatio.map { "throughput \(Self.number($0, 3)), " } ?? ""
    Output.line(
      "\(line.target)/\(line.baseline) \(line.workload.operation) "
        + "\(Self.size(line.workload.objectBytes)) verify \(line.workload.verify ? "on" : "off"): "
        + "\(speed)p50 \(Self.number(line.p50Ratio, 3))")
  }

  private static func row(_ cells: [String]) -> String {
    zip(cells, columns).map { cell, column in
      String(repeating: " ", count: max(0, column.1 - cell.count)) + cell
    }.joined(separator: " ")
  }

  private static func size(_ bytes: Int) -> String {
    for (unit, shift) in [("MiB", 20), ("KiB", 10)] where bytes >= 1 << shift {
      return bytes % (1 << shift) == 0 ? "\(bytes >> shift)\(unit)" : "\(bytes)"
    }
    return "\(bytes)"
  }

  private static func number(_ value: Double?, _ digits: Int) -> String {
    guard let value else { return "-" }
    return Output.decimal(value, digits: digits)
  }
}

/// What all lines of a workload have in common.
struct WorkloadFields: Encodable {
  let operation: String
  let objectBytes: Int
  let workingSetBytes: Int
  let batch: Int
  let connections: Int
  let verify: Bool

  init(_ workload: Workload) {
    operation = workload.name
    objectBytes = workload.objectBytes
    workingSetBytes = workload.objectBytes * workload.objectCount
    batch = workload.batch
    connections = workload.connections
    verify = workload.verifies
  }
}

/// How a run was started and on what.
struct BenchRun: Encodable {
  var kind = "run"
  let version: String
  let command: String
  let startedAt: String
  let kernel: String
  let cores: Int
  let targets: [String]
  let server: String?
  let rounds: Int
  let secondsPerRound: Double
}

/// One target's result in one round.
struct SampleLine: Encodable {
  var kind = "sample"
  let target: String
  let link: String?
  let workload: WorkloadFields
  let round: Int
  let seconds: Double
  let operations: Int
  let misses: Int
  let gigabytes: Double
  let gigabytesPerSecond: Double?
  let operationsPerSecond: Double
  let p50Microseconds: Double
  let p99Microseconds: Double
  let p999Microseconds: Double
  let clientCPUSecondsPerGigabyte: Double?
  let serverCPUSecondsPerGigabyte: Double?
  let clientCPUMicrosecondsPerOperation: Double
  let serverCPUMicrosecondsPerOperation: Double?

  init(_ target: any BenchTarget, round: Int, _ sample: Sample, _ workload: Workload) {
    self.target = target.name
    link = target.link
    self.workload = WorkloadFields(workload)
    self.round = round
    seconds = sample.seconds
    operations = sample.record.operations
    misses = sample.record.misses
    gigabytes = sample.gigabytes
    gigabytesPerSecond = workload.movesObjects ? sample.gigabytesPerSecond : nil
    operationsPerSecond = sample.operationsPerSecond
    p50Microseconds = sample.microseconds(percentile: 50)
    p99Microseconds = sample.microseconds(percentile: 99)
    p999Microseconds = sample.microseconds(percentile: 99.9)
    let gigabytes = sample.gigabytes > 0 ? sample.gigabytes : nil
    clientCPUSecondsPerGigabyte = gigabytes.map { sample.clientCPU / $0 }
    serverCPUSecondsPerGigabyte = gigabytes.flatMap { all in sample.serverCPU.map { $0 / all } }
    let scale = 1e6 / Double(max(1, sample.record.operations))
    clientCPUMicrosecondsPerOperation = sample.clientCPU * scale
    serverCPUMicrosecondsPerOperation = sample.serverCPU.map { $0 * scale }
  }
}

/// What KDN's medians over all rounds are to another target's.
struct RatioLine: Encodable {
  var kind = "ratio"
  let target: String
  let baseline: String
  let workload: WorkloadFields
  let rounds: Int
  let throughputRatio: Double?
  let p50Ratio: Double?
  let targetGigabytesPerSecond: Double?
  let baselineGigabytesPerSecond: Double?
  let targetP50Microseconds: Double?
  let baselineP50Microseconds: Double?

  init(
    _ target: String, _ samples: [Sample], to baseline: String, _ others: [Sample],
    _ workload: Workload
  ) {
    self.target = target
    self.baseline = baseline
    self.workload = WorkloadFields(workload)
    rounds = samples.count
    let moves = workload.movesObjects
    targetGigabytesPerSecond = moves ? median(samples.map(\.gigabytesPerSecond)) : nil
    baselineGigabytesPerSecond = moves ? median(others.map(\.gigabytesPerSecond)) : nil
    targetP50Microseconds = median(samples.map { $0.microseconds(percentile: 50) })
    baselineP50Microseconds = median(others.map { $0.microseconds(percentile: 50) })
    throughputRatio = Self.ratio(targetGigabytesPerSecond, baselineGigabytesPerSecond)
    p50Ratio = Self.ratio(targetP50Microseconds, baselineP50Microseconds)
  }

  private static func ratio(_ value: Double?, _ baseline: Double?) -> Double? {
    guard let value, let baseline, baseline > 0 else { return nil }
    return value / baseline
  }
}
