import KDNCore
import KDNTier
import Testing

/// Plays a journal of documents on devices that lose power, are killed and fail, and compares what
/// comes back with what was acknowledged.
private struct DocumentDriver {
  /// What changes come to: epochs by name, and how many rules there are.
  struct Model: Equatable {
    var epochs: [String: UInt64] = [:]
    var rules = AccessRules.none
    var last: UInt64 = 0

    mutating func apply(_ change: DocumentChange) {
      switch change {
      case .published(_, let document, let epoch):
        epochs[document.name] = epoch
        last = max(last, epoch)
      case .retired(_, let name): epochs[name] = nil
      case .forgotten: epochs = [:]
      case .denied(_, let rules): self.rules = rules
      case .epoch(_, let epoch): last = max(last, epoch)
      case .layout, .edited, .reverted: break
      }
    }
  }

  let name: NamespaceName
  let disk: SimulatedDisk
  var random: RandomSource
  /// What was acknowledged last.
  var model = Model()
  /// What may be there instead: attempts since then that nobody knows the end of.
  var attempts: [Model] = []
  var lives = 0
  var acknowledged = 0
  var failed = 0

  init(seed: UInt64, devices: Int) throws {
    name = try NamespaceName("team")
    random = RandomSource(seed: seed)
    disk = SimulatedDisk(
      seed: seed &+ 1, capacities: [Int](repeating: 1 << 30, count: devices))
  }

  /// One life: what came back is one of what may be there, then changes until it ends.
  mutating func live(failingOneIn: Int) throws {
    let journal = DocumentJournal(
      disk.directories.map { ($0 as any BlockDirectory, 1 << 30) })
    let loaded = journal.load()
    #expect(!loaded.isDamaged && loaded.problems.isEmpty)
    var found = Model()
    for change in loaded.changes { found.apply(change) }
    #expect(found == model || attempts.contains(found), "life \(lives)")
    (model, attempts) = (found, [])
    for directory in disk.directories {
      directory.faults.write = failingOneIn
      directory.faults.synchronise = failingOneIn
      directory.faults.create = failingOneIn
    }
    disk.operationsUntilPowerLoss = random.number(below: 400) + 1
    while disk.isPowered {
      let (changes, next) = try nextChanges()
      do throws(DiskError) {
        try journal.append(changes) { state(of: next) }
        (model, attempts) = (next, [])
        acknowledged += 1
      } catch {
        attempts.append(next)
        failed += 1
      }
    }
    for directory in disk.directories { directory.faults = .none }
    disk.crash(random.isOne(in: 2) ? .kill : .powerLoss)
    #expect(disk.violations.isEmpty, "\(disk.violations)")
    lives += 1
  }

  private mutating func nextChanges() throws -> ([DocumentChange], Model) {
    var next = model
    var changes: [DocumentChange] = []
    for _ in 0...random.number(below: 3) {
      let change: DocumentChange
      let text = "document \(random.number(below: 40))"
      switch random.number(below: 20) {
      case 0: change = .forgotten(name)
      case 1: change = .denied(name, try AccessRules(denied: [text, "secret/*"]))
      case 2...6: change = .retired(name, name: text)
      default: change = .published(name, try document(text), epoch: next.last + 1)
      }
      next.apply(change)
      changes.append(change)
    }
    return (changes, next)
  }

  private func document(_ text: String) throws -> Document {
    try Document(
      name: text, layout: LayoutID(ofCanonicalEncoding: [1]), tokenCount: 16, chunkTokens: 16,
      hashes: [HashChain.opaque(Array(text.utf8))],
      metadata: String(repeating: "m", count: text.utf8.count * 100))
  }

  private func state(of model: Model) -> [DocumentChange] {
    let documents = model.epochs.keys.sorted().compactMap { text -> DocumentChange? in
      guard let document = try? document(text), let epoch = model.epochs[text] else { return nil }
      return .published(name, document, epoch: epoch)
    }
    return [.epoch(name, model.last), .denied(name, model.rules)] + documents
  }
}

@Suite("A journal of documents on devices that fail")
struct DocumentSimulation {
  @Test("has what was acknowledged after each loss of power", arguments: [1, 2])
  func crashes(devices: Int) throws {
    var acknowledged = 0
    for seed in 0..<20 as Range<UInt64> {
      var driver = try DocumentDriver(seed: seed, devices: devices)
      for _ in 0..<10 { try driver.live(failingOneIn: 0) }
      acknowledged += driver.acknowledged
    }
    #expect(acknowledged > 10_000 / devices)
  }

  @Test("has it also where writes fail")
  func failures() throws {
    var (acknowledged, failed) = (0, 0)
    for seed in 100..<120 as Range<UInt64> {
      var driver = try DocumentDriver(seed: seed, devices: 1)
      for _ in 0..<10 { try driver.live(failingOneIn: 20) }
      acknowledged += driver.acknowledged
      failed += driver.failed
    }
    #expect(acknowledged > 2000 && failed > 100)
  }
}
