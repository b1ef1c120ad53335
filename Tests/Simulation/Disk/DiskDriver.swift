import Dispatch
import KDNCore
import KDNMemory
import KDNTier

/// Does random operations on a tier over faulty devices, ends its lives at random points, and
/// compares all that it answers with the model.
final class DiskDriver {
  typealias Name = DiskUniverse.Name
  typealias Copy = DiskModel.Copy
  typealias MakeTier = (DiskSetting) throws -> any Tier

  /// A question to the tier that it has not answered yet.
  struct Question {
    let text: String
    let answers: () -> Int
    let wasPowered: () -> Bool
    let conclude: () throws -> Void
  }

  /// What was done so far, to tell whether a run came to what it is to test.
  struct Totals {
    var lives = 0
    var powerLosses = 0
    var kills = 0
    var closes = 0
    var startsInterrupted = 0
    var promised = 0
    var readsWhole = 0
    var purges = 0
    var refusals: [String: Int] = [:]
    var foundAfterRecovery = 0
    var missedExcused = 0
    var forged = 0
    /// Copies' names of which the tier said that they cannot return.
    var cannotReturn = 0
    var quotaChecks = 0
    var lists = 0
    var rewritten = 0
  }

  let scenario: DiskScenario
  let disk: SimulatedDisk
  let universe: DiskUniverse
  let arena: Arena
  let wallClock = ManualWallClock()
  let makeTier: MakeTier
  var random: RandomSource
  var model: DiskModel
  var clock = ManualClock()
  var tier: (any Tier)?
  var engines: [SimulatedEngine] = []
  var questions: [Question] = []
  var totals = Totals()
  var places = DiskPlaces()
  var isClosing = false
  var quotas = DiskQuotas()
  private var extentsBefore = 0
  /// Failures of each device before this life.
  var failuresBefore: [(read: Int, write: Int)] = []

  init(
    seed: UInt64, scenario: DiskScenario, arena: Arena, makeTier: @escaping MakeTier
  ) throws {
    random = RandomSource(seed: seed)
    self.scenario = scenario
    self.makeTier = makeTier
    disk = SimulatedDisk(seed: random.next(), capacities: scenario.capacities)
    universe = try DiskUniverse()
    model = DiskModel(tenants: universe.namespaces.count)
    self.arena = arena
    model.mayFallBack =
      scenario.mayReclaim || scenario.hasQuotas || scenario.damages > 0 || scenario.failsOneIn > 0
    model.excuse = { [unowned self] in isExcused($0, $1) }
    guard scenario.watchesPlaces else { return }
    for directory in disk.directories { places.watch(directory) }
  }

  /// Memory for the objects of many runs.
  static func makeArena() throws -> Arena {
    // Slabs this small make extents of whole pages, which are written and read in place.
    try Arena(
      ArenaConfiguration(
        capacityBytes: 8 << 20, slabBytes: 8192, hugePages: .off, lockMemory: .off, numa: .off,
        prefault: false))
  }

  func expect(_ isSo: Bool, _ difference: @autoclosure () -> String) throws {
    guard isSo else { throw DiskDifference(description: difference()) }
  }

  func note(_ text: @autoclosure () -> String) {
    if disk.trace != nil { disk.note { text() } }
  }

  var now: UInt64 { wallClock.milliseconds() }

  // MARK: Lives

  func run() throws {
    for _ in 0..<scenario.lives { try live() }
  }

  /// Starts the tier, does random operations, and ends its life somehow.
  func live() throws {
    totals.lives += 1
    note("life \(totals.lives)")
    if random.isOne(in: 3) {
      disk.operationsUntilPowerLoss = 1 + random.number(below: random.isOne(in: 2) ? 30 : 150)
    }
    var isClosed = false
    if try start() {
      try recover()
      try checkAll()
      for _ in 0..<random.number(below: scenario.operationsPerLife) where disk.isPowered {
        try operate()
        try work(steps: random.number(below: 7))
        if scenario.failsOneIn > 0, random.isOne(in: scenario.failsOneIn) { try failDevice() }
      }
      if random.isOne(in: scenario.closesOneIn) { isClosed = try close() }
    } else {
      totals.startsInterrupted += 1
    }
    try end(isClosed: isClosed)
  }

  /// Makes and starts a tier; false if the power failed meanwhile.
  private func start() throws -> Bool {
    isClosing = false
    quotas = DiskQuotas()
    // A tier that died while it was closing waits for its engines for ever.
    extentsBefore = arena.statistics.extents
    clock = ManualClock()
    engines = disk.directories.map { _ in SimulatedEngine(disk: disk) }
    failuresBefore = disk.directories.map { ($0.readFailures, $0.writeFailures) }
    for directory in disk.directories { directory.faults = scenario.faults }
    let setting = DiskSetting(
      scenario: scenario, disk: disk, engines: engines, clock: clock, wallClock: wallClock,
      seed: random.next())
    do {
      let made = try makeTier(setting)
      tier = made
      if random.isOne(in: 2) { try setQuota(made) }
      made.start()
    } catch {
      note("the tier cannot be made: \(error)")
      try expect(!disk.isPowered || hasFailed, "the tier cannot be made: \(error)")
      return false
    }
    guard disk.isPowered else { return false }
    try checkGenerations()
    return true
  }

  /// Lets the tier find out what is there, with some operations meanwhile.
  private func recover() throws {
    var steps = 0
    while disk.isPowered, let tier, !tier.isReady {
      try work(steps: 1 + random.number(below: 8))
      if random.isOne(in: 40) { try operate() }
      advance(milliseconds: 1)
      steps += 1
      try expect(steps < 10_000, "it never becomes ready")
    }
  }

  /// Ends the life by closing the tier; false if it ended before.
  private func close() throws -> Bool {
    guard disk.isPowered, let tier else { return false }
    note("close")
    isClosing = true
    let isCut = random.isOne(in: 4)
    let answers = CloseAnswer()
    tier.close { answers.give() }
    // The tier may end its engines on another thread: only then there is something to wait for.
    var idleRounds = 0
    while disk.isPowered, idleRounds < 3 {
      idleRounds = engines.allSatisfy(\.isIdle) ? idleRounds + 1 : 0
      try work(steps: 1 + random.number(below: 8))
      if isCut, random.isOne(in: 10) { return false }
      advance(milliseconds: 200)
    }
    guard disk.isPowered else { return false }
    for engine in engines { engine.allowShutDown() }
    try expect(answers.wait(), "close never ends")
    try drain()
    try expect(questions.isEmpty, "closed without an answer: \(questions.map(\.text))")
    guard !hasFailed else { return false }
    model.promiseAll()
    for tenant in model.layoutsAsked.indices {
      model.layoutsKept[tenant] = model.layoutsAsked[tenant]
    }
    totals.closes += 1
    return true
  }

  private func end(isClosed: Bool) throws {
    try checkViolations()
    for engine in engines { engine.die() }
    let isKill = random.isOne(in: scenario.killsOneIn)
    disk.crash(isKill ? .kill : .powerLoss)
    if isKill { totals.kills += 1 } else { totals.powerLosses += 1 }
    totals.missedExcused = model.tally.excused
    doubtUnread()
    model.endLife(isClosed: isClosed)
    decay()
    questions = []
    tier = nil
    engines = []
    guard isClosed else { return }
    let kept = arena.statistics.extents - extentsBefore
    try expect(kept <= 0, "a closed tier keeps \(kept) extents")
  }

  // MARK: Time and answers

  func advance(milliseconds: UInt64) {
    clock.advance(milliseconds: milliseconds)
    wallClock.set(milliseconds: now + milliseconds)
    model.expire(now)
    tier?.tick(now: clock.now())
  }

  /// Lets the devices work, and takes the answers.
  func work(steps: Int) throws {
    for _ in 0..<steps {
      guard disk.isPowered, step() else { break }
    }
    try drain()
    try checkViolations()
  }

  private func step() -> Bool {
    let first = engines.count > 1 ? random.number(below: engines.count) : 0
    for offset in engines.indices where engines[(first + offset) % engines.count].step() {
      return true
    }
    return false
  }

  /// Lets everything that was asked for come to its end.
  func settle() throws {
    var rounds = 0
    while disk.isPowered, !questions.isEmpty || !engines.allSatisfy(\.isIdle) {
      try work(steps: 100)
      advance(milliseconds: 50)
      rounds += 1
      try expect(rounds < 1000, "never answered: \(questions.map(\.text))")
    }
  }

  private func drain() throws {
    guard questions.contains(where: { $0.answers() > 0 }) else { return }
    let answered = questions.filter { $0.answers() > 0 }
    questions.removeAll { $0.answers() > 0 }
    for question in answered where question.wasPowered() {
      try expect(question.answers() == 1, "answered twice: \(question.text)")
      try question.conclude()
    }
  }

  func ask<Value>(
    _ text: @autoclosure () -> String, _ answer: Answer<Value>,
    _ conclude: @escaping (Value) throws -> Void
  ) {
    let text = text()
    questions.append(
      Question(
        text: text, answers: { answer.count }, wasPowered: { answer.wasPowered },
        conclude: { [unowned self] in
          guard let value = answer.value else { return }
          note("answer to \(text): \(String("\(value)".prefix(60)))")
          try conclude(value)
        }))
  }

  private func checkViolations() throws {
    guard let first = disk.violations.first else { return }
    throw DiskDifference(description: first)
  }
}

/// Hears that a tier is closed, on whatever thread.
final class CloseAnswer: Sendable {
  private let semaphore = DispatchSemaphore(value: 0)

  func give() { semaphore.signal() }

  /// Whether it comes, within a time that no machine needs.
  func wait() -> Bool { semaphore.wait(timeout: .now() + 20) == .success }
}

/// Where a completion puts its answer.
// Safe because: one thread plays a whole simulation.
final class Answer<Value>: @unchecked Sendable {
  private let disk: SimulatedDisk
  private(set) var value: Value?
  private(set) var count = 0
  /// Without power nobody hears an answer.
  private(set) var wasPowered = true

  init(_ disk: SimulatedDisk) { self.disk = disk }

  func give(_ value: Value) {
    if count == 0 {
      self.value = value
      wasPowered = disk.isPowered
    }
    count += 1
  }
}
