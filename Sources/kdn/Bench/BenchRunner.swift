internal import Dispatch
internal import KDNCore

/// Runs one workload on all targets, round by round in turn.
struct BenchRunner {
  /// What is measured.
  let workload: Workload
  /// Rounds of each target.
  let rounds: Int
  /// Length of the timed part of a round.
  let seconds: Double

  private static let warmUpShare = 0.2
  private let clock = SystemClock()

  /// Creates a runner.
  init(_ workload: Workload, rounds: Int, seconds: Double) {
    self.workload = workload
    self.rounds = rounds
    self.seconds = seconds
  }

  /// Measures `targets`; each sample is told when it is there.
  ///
  /// - Returns: for each target, its samples.
  func run(
    _ targets: [any BenchTarget],
    told: (_ target: any BenchTarget, _ round: Int, _ sample: Sample) throws -> Void
  ) throws -> [[Sample]] {
    let pool = try BufferPool(count: workload.objectCount, bufferBytes: workload.objectBytes)
    for (object, buffer) in pool.buffers.enumerated() { buffer.fill(object: object) }
    var samples = [[Sample]](repeating: [], count: targets.count)
    // `measure` has let the links go before: the ceiling's child ends when its connections do.
    defer { for target in targets { try? target.close() } }
    try measure(targets, pool.buffers) { index, round, sample in
      samples[index].append(sample)
      try told(targets[index], round, sample)
    }
    withExtendedLifetime(pool) {}
    return samples
  }

  private func measure(
    _ targets: [any BenchTarget], _ buffers: [Buffer], told: (Int, Int, Sample) throws -> Void
  ) throws {
    var links: [[any BenchLink]] = []
    for target in targets {
      let opened = try target.open(workload, buffers: buffers)
      try storeAndCheck(target.name, opened, buffers)
      _ = try time(opened, buffers, seconds: seconds * Self.warmUpShare)
      links.append(opened)
    }
    for round in 1...rounds {
      for (index, target) in targets.enumerated() {
        try told(index, round, try sample(target, links[index], buffers))
      }
    }
  }

  /// Stores the working set and compares each byte that comes back.
  private func storeAndCheck(
    _ target: String, _ links: [any BenchLink], _ buffers: [Buffer]
  ) throws {
    for (number, link) in links.enumerated() {
      let share = workload.objects(ofConnection: number)
      for object in share { try link.store(object, from: buffers[object]) }
      for first in stride(from: share.lowerBound, to: share.upperBound, by: workload.batch) {
        let objects = first..<first + workload.batch
        for object in objects { buffers[object].clear() }
        let found = try link.check(objects, into: buffers[objects])
        guard found == objects.count else {
          throw BenchError.refused(
            target: target, answer: "\(objects.count - found) objects stored just now are gone")
        }
        for object in objects where !buffers[object].holds(object: object) {
          throw BenchError.wrongBytes(target: target, object: object)
        }
      }
    }
  }

  private func sample(
    _ target: any BenchTarget, _ links: [any BenchLink], _ buffers: [Buffer]
  ) throws -> Sample {
    let serverBefore = try target.cpuSeconds()
    let ownBefore = ProcessTime.own()
    let start = clock.now()
    let record = try time(links, buffers, seconds: seconds)
    let own = ProcessTime.own() - ownBefore
    let server = try target.cpuSeconds().flatMap { after in serverBefore.map { after - $0 } }
    return Sample(
      seconds: Double(record.end.nanoseconds(since: start)) / 1e9, record: record, clientCPU: own,
      serverCPU: server)
  }

  /// Has each link worked by a thread of its own until the time is over.
  private func time(
    _ links: [any BenchLink], _ buffers: [Buffer], seconds: Double
  ) throws -> WorkerRecord {
    let deadline = clock.now().advanced(milliseconds: UInt64(seconds * 1000))
    let results = Guarded<[Result<WorkerRecord, any Error>]>([])
    let group = DispatchGroup()
    for (number, link) in links.enumerated() {
      let share = workload.objects(ofConnection: number)
      DispatchQueue(label: "kdn.bench.worker.\(number)").async(group: group) { [self] in
        let result = Result { try work(link, share, buffers, until: deadline) }
        results.withLock { $0.append(result) }
      }
    }
    group.wait()
    var sum = WorkerRecord()
    for result in results.withLock({ $0 }) { sum.add(try result.get()) }
    return sum
  }

  private func work(
    _ link: any BenchLink, _ share: Range<Int>, _ buffers: [Buffer], until deadline: Instant
  ) throws -> WorkerRecord {
    var record = WorkerRecord()
    var next = share.lowerBound
    var before = clock.now()
    repeat {
      let operation = workload.operations[record.operations % workload.operations.count]
      let step = operation == .put ? 1 : workload.batch
      if next + step > share.upperBound { next = share.lowerBound }
      let objects = next..<next + step
      next = objects.upperBound
      let found = try perform(operation, link, objects, buffers)
      let after = clock.now()
      record.latencies.record(after.nanoseconds(since: before))
      record.operations += 1
      record.misses += step - found
      // What was not there was not moved.
      if Workload.moves(operation) { record.bytes += found * workload.objectBytes }
      try link.settle()
      before = clock.now()
    } while before < deadline
    record.end = before
    return record
  }

  private func perform(
    _ operation: Workload.Operation, _ link: any BenchLink, _ objects: Range<Int>,
    _ buffers: [Buffer]
  ) throws -> Int {
    switch operation {
    case .get: return try link.get(objects, into: buffers[objects])
    case .put:
      try link.put(objects.lowerBound, from: buffers[objects.lowerBound])
      return 1
    case .exists: return try link.exists(objects)
    case .match: return try link.match()
    }
  }
}
