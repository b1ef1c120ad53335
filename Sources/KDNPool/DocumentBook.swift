internal import Dispatch
internal import KDNCore
internal import KDNTier

/// The documents of all namespaces of a pool, and what is asked to be changed.
///
/// Without a journal a change is done at once. With one, changes wait for each other: the queue
/// carries out all that wait on copies of the tables, writes them as one batch, and only then puts
/// the copies in place and answers. So nobody sees what a crash could undo.
final class DocumentBook: Sendable {
  typealias Completion = @Sendable (Result<DocumentOutcome, PoolRefusal>) -> Void

  private struct Job: Sendable {
    let namespace: Namespace
    let order: DocumentOrder
    let completion: Completion
  }

  private struct Waiting: Sendable {
    var jobs: [Job] = []
    var isRunning = false
  }

  /// Most changes that wait to be written.
  static let waitingMax = 1024
  /// A batch ends with the change that brings it above so many bytes.
  private static let batchBytes = 1 << 20
  /// Most changes of a batch.
  private static let batchCountMax = 256

  private let tables = Guarded<[UInt32: DocumentTable]>([:])
  private let waiting = Guarded(Waiting())
  private let journal = Guarded<DocumentJournal?>(nil)
  private let queue = DispatchQueue(label: "kdn.documents", qos: .userInitiated)
  private let countMax: Int
  private let epochBase: UInt64
  private let budget: MemoryBudget

  init(_ configuration: PoolConfiguration, budget: MemoryBudget) {
    countMax = configuration.documentsPerNamespaceMax
    epochBase = configuration.documentEpochBase
    self.budget = budget
  }

  /// The table of a namespace; an empty one if nothing is known of it.
  func table(of namespace: Namespace) -> DocumentTable {
    tables.withLock { $0[namespace.number] } ?? fresh(namespace)
  }

  /// How many documents there are in all namespaces, and how many operations on them.
  var counts: (documents: Int, edits: Int) {
    tables.withLock { tables in
      tables.values.reduce((0, 0)) { ($0.0 + $1.count, $0.1 + $1.editCount) }
    }
  }

  private func fresh(_ namespace: Namespace) -> DocumentTable {
    DocumentTable(namespace.name, lastEpoch: epochBase)
  }

  // MARK: Changes

  /// Carries out an order; `completion` is called once, when a crash cannot undo it: before this
  /// returns if there is no journal, else on any thread.
  ///
  /// Fails with what the table refuses, `busy` if too many wait, `unavailable` if it cannot be
  /// written: nothing has changed then, but for names that were to be forgotten.
  func perform(
    _ order: DocumentOrder, in namespace: Namespace, completion: @escaping Completion
  ) {
    guard journal.withLock({ $0 != nil }) else {
      return completion(performNow(order, in: namespace))
    }
    let job = Job(namespace: namespace, order: order, completion: completion)
    let (isTaken, isFirst) = waiting.withLock { waiting -> (Bool, Bool) in
      // What a purge forgets is never turned away: it has nowhere to go back to.
      guard waiting.jobs.count < Self.waitingMax || order.isForget else { return (false, false) }
      waiting.jobs.append(job)
      defer { waiting.isRunning = true }
      return (true, !waiting.isRunning)
    }
    guard isTaken else { return completion(.failure(.busy(retryAfterMilliseconds: 100))) }
    if isFirst { queue.async { self.run() } }
  }

  private func performNow(
    _ order: DocumentOrder, in namespace: Namespace
  ) -> Result<DocumentOutcome, PoolRefusal> {
    let bounds = DocumentBounds(countMax: countMax, recordBytesMax: .max, budget: budget)
    let (result, old) = tables.withLock {
      tables -> (Result<DocumentOutcome, PoolRefusal>, DocumentTable) in
      let old = tables[namespace.number] ?? fresh(namespace)
      var table = old
      do throws(PoolRefusal) {
        let outcome = try table.carryOut(order, bounds).outcome
        tables[namespace.number] = table
        return (.success(outcome), old)
      } catch {
        return (.failure(error), old)
      }
    }
    // What is dropped goes here, after the lock.
    withExtendedLifetime(old) {}
    return result
  }

  // MARK: Batches; on the queue

  private func run() {
    while let jobs = takeBatch() { carryOut(jobs) }
  }

  private func takeBatch() -> [Job]? {
    waiting.withLock { waiting in
      guard !waiting.jobs.isEmpty else {
        waiting.isRunning = false
        return nil
      }
      var bytes = 0
      let count = waiting.jobs.prefix(Self.batchCountMax).prefix { job in
        defer { bytes += job.order.recordBytes }
        return bytes <= Self.batchBytes
      }.count
      defer { waiting.jobs.removeFirst(count) }
      return Array(waiting.jobs.prefix(count))
    }
  }

  private func carryOut(_ jobs: [Job]) {
    guard let journal = journal.withLock({ $0 }) else { return }
    // Holds what is dropped until it is over.
    let old = tables.withLock { $0 }
    var batch = Batch(old, bytesMax: journal.stateBytesMax)
    let results = jobs.map { job in
      batch.carryOut(
        job.order, fresh(job.namespace), of: job.namespace.number, countMax: countMax, budget)
    }
    var isWritten = true
    if !batch.changes.isEmpty {
      do {
        try journal.append(batch.changes) { batch.state }
      } catch {
        isWritten = false
      }
    }
    if isWritten {
      let changed = batch.changed
      tables.withLock { tables in
        for number in changed { tables[number] = batch.tables[number] }
      }
    } else {
      for job in jobs where job.order.isForget {
        _ = performNow(job.order, in: job.namespace)
      }
    }
    for (job, result) in zip(jobs, results) {
      guard case .success = result, !isWritten else {
        job.completion(result)
        continue
      }
      job.completion(.failure(.unavailable))
    }
  }

  // MARK: Across restarts

  /// Puts in place what was kept, and keeps all changes in `journal` from now on; to be called
  /// once, before anything is changed.
  func keep(_ restored: [UInt32: DocumentTable], in journal: DocumentJournal) {
    tables.withLock { $0 = restored }
    self.journal.withLock { $0 = journal }
  }

  /// Nothing is changed any more; the directories are given back.
  func close() { journal.withLock { $0 }?.close() }

  /// A table to restore into.
  func empty(_ namespace: Namespace) -> DocumentTable { fresh(namespace) }
}

/// Changes that are written together, on copies of the tables.
private struct Batch {
  private(set) var tables: [UInt32: DocumentTable]
  private(set) var changed: Set<UInt32> = []
  private(set) var changes: [DocumentChange] = []
  private var recordBytes: Int
  private let bytesMax: Int

  init(_ tables: [UInt32: DocumentTable], bytesMax: Int) {
    self.tables = tables
    self.bytesMax = bytesMax
    recordBytes = tables.values.reduce(0) { $0 + $1.recordBytes }
  }

  /// The changes that come to all tables.
  var state: [DocumentChange] {
    tables.keys.sorted().flatMap { tables[$0]?.changes ?? [] }
  }

  mutating func carryOut(
    _ order: DocumentOrder, _ fresh: DocumentTable, of number: UInt32, countMax: Int,
    _ budget: MemoryBudget
  ) -> Result<DocumentOutcome, PoolRefusal> {
    var table = tables[number] ?? fresh
    let before = tables[number]?.recordBytes ?? 0
    let bounds = DocumentBounds(
      countMax: countMax, recordBytesMax: bytesMax - recordBytes + before, budget: budget)
    do throws(PoolRefusal) {
      if case .publish(let document, _) = order { try Self.check(document) }
      let (outcome, changes) = try table.carryOut(order, bounds)
      tables[number] = table
      changed.insert(number)
      recordBytes += table.recordBytes - before
      self.changes += changes
      return .success(outcome)
    } catch {
      return .failure(error)
    }
  }

  private static func check(_ document: Document) throws(PoolRefusal) {
    guard document.hashes.count <= DocumentChange.chunksMax else {
      throw .limit(
        FieldFault(
          "count", value: document.hashes.count, limit: DocumentChange.chunksMax,
          "more chunks than are kept of a document"))
    }
  }
}

extension DocumentOrder {
  fileprivate var isForget: Bool {
    if case .forget = self { true } else { false }
  }
}
