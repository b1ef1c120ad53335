import KDNCore
import KDNMemory
import KDNTier

@testable import KDNPool

/// Does random operations on a pool over a disk tier, with a coder that fails and lies, ends its
/// lives at random points, and compares every byte that it gives with what was stored.
// Safe because: one thread plays a whole simulation.
final class CodingDriver: @unchecked Sendable {
  struct Name: Hashable {
    let tenant: Int
    let number: Int
  }

  /// What is known of a name.
  struct Record {
    /// How often it was purged: each time other bytes are stored under it.
    var epoch = 0
    /// The oldest bytes that may come back: the purge of those was not acknowledged.
    var floor = 0
    /// It is durable, and was not purged since.
    var isPromised = false

    /// Whose bytes may be found now; a reader who has them keeps them.
    var epochs: ClosedRange<Int> { floor...epoch }
  }

  struct Read {
    let fetch: Fetch
    let name: Name
    let terms: FetchTerms
    let epochs: ClosedRange<Int>
  }

  /// A reader who found nothing to fetch, and has not looked into RAM yet.
  struct Look {
    let name: Name
    let terms: FetchTerms
    let epochs: ClosedRange<Int>
    let object: StoredObject
  }

  final class Reader {
    let lease: ReadLease
    let name: Name
    let epochs: ClosedRange<Int>

    init(_ lease: consuming ReadLease, _ name: Name, _ epochs: ClosedRange<Int>) {
      self.lease = lease
      self.name = name
      self.epochs = epochs
    }
  }

  struct Totals {
    var lives = 0
    var hits = 0
    var encodedHits = 0
    var lossyHits = 0
    /// Hits in the slower tier's form of what RAM had in another.
    var belowHits = 0
    /// Hits of readers who have no use for lossy forms, and what they could not use.
    var exactHits = 0
    var inexactHits = 0
    var looks = 0
    var required = 0
    var misses: [MissCause: Int] = [:]
    var coding = CodingStatistics()
    var lies = 0
    var recodings = 0
  }

  static let keyCount = 24
  static let arenaBytes = 384 << 10
  static let ramQuota = 150 << 10

  var random: RandomSource
  let disk: SimulatedDisk
  let wallClock = ManualWallClock()
  let scenario: DiskScenario
  var records: [Name: Record] = [:]
  var totals = Totals()

  private struct Version: Hashable {
    let name: Name
    let epoch: Int
  }

  private var contents: [Version: [UInt8]] = [:]

  // One life.
  var clock = ManualClock()
  var engine: SimulatedEngine
  var pool: Pool
  var arena: Arena
  var tier: DiskTier
  var coder: SimulatedCoder
  var decoding = SimulatedExecutor()
  var encoding = SimulatedExecutor()
  var namespaces: [Namespace] = []
  var reads: [Read] = []
  var looks: [Look] = []
  var readers: [Reader] = []
  var recoding: Recoding?
  /// What was found to be wrong where nothing can be thrown.
  var failure: String?

  init(seed: UInt64) throws {
    random = RandomSource(seed: seed)
    var scenario = DiskScenario()
    scenario.capacities = [320 * 65_536]
    self.scenario = scenario
    disk = SimulatedDisk(seed: random.next(), capacities: scenario.capacities)
    engine = SimulatedEngine(disk: disk)
    coder = SimulatedCoder(seed: random.next())
    arena = try Self.makeArena(Self.arenaBytes)
    tier = try DiskSetting(
      scenario: scenario, disk: disk, engines: [engine], clock: clock, wallClock: wallClock,
      seed: random.next()
    ).makeDiskTier()
    pool = try Self.makePool(arena, tier, clock, wallClock)
    try begin()
  }

  private static func makeArena(_ bytes: Int) throws -> Arena {
    try Arena(
      ArenaConfiguration(
        capacityBytes: bytes, slabBytes: 64 << 10, hugePages: .off, lockMemory: .off,
        numa: .off, prefault: false))
  }

  private static func makePool(
    _ arena: Arena, _ tier: DiskTier, _ clock: ManualClock, _ wallClock: ManualWallClock
  ) throws -> Pool {
    var configuration = PoolConfiguration(memoryBytesMax: 0)
    configuration.ghostsMax = 1 << 12
    configuration.writeBehindBytesMax = 128 << 10
    configuration.memoryBytesMax =
      arenaBytes + 128 << 10 + configuration.fixedBytes + configuration.writeQueueBytes + 1 << 20
    return Pool(
      configuration: configuration, arena: arena, clock: clock, wallClock: wallClock, tier: tier,
      staging: try makeArena(128 << 10))
  }

  private func begin() throws {
    pool.startTier()
    var settings = CodingSettings()
    settings.queuedMax = 1 + random.number(below: 12)
    settings.workersMax = 1 + random.number(below: 2)
    pool.startCoding(coder, decoding: decoding, encoding: encoding, settings: settings)
    changePolicy()
    var rounds = 0
    while disk.isPowered, !pool.isTierReady {
      _ = engine.step()
      rounds += 1
      guard rounds < 100_000 else { throw DiskDifference(description: "never ready") }
    }
    namespaces = try ["a", "b"].map { try pool.namespace(NamespaceName($0)) }
    pool.setLimits(NamespaceLimits(ramBytesMax: Self.ramQuota), of: namespaces[0])
  }

  func expect(_ isSo: Bool, _ difference: @autoclosure () -> String) throws {
    guard isSo else { throw DiskDifference(description: difference()) }
  }

  // MARK: Lives

  func live(operations: Int) throws {
    totals.lives += 1
    if random.isOne(in: 2) {
      disk.operationsUntilPowerLoss = 20 + random.number(below: 400)
    }
    for _ in 0..<operations where disk.isPowered {
      try operate()
      work(steps: random.number(below: 6))
      try check()
    }
    if disk.isPowered, random.isOne(in: 3) { try settle() }
    try crash()
  }

  private func crash() throws {
    totals.add(pool.statistics.coding)
    totals.lies += coder.state.withLock { $0.lies }
    engine.die()
    decoding.forget()
    encoding.forget()
    reads = []
    looks = []
    readers = []
    recoding = nil
    disk.crash(random.isOne(in: 2) ? .kill : .powerLoss)
    clock = ManualClock()
    engine = SimulatedEngine(disk: disk)
    decoding = SimulatedExecutor()
    encoding = SimulatedExecutor()
    coder = SimulatedCoder(seed: random.next())
    arena = try Self.makeArena(Self.arenaBytes)
    tier = try DiskSetting(
      scenario: scenario, disk: disk, engines: [engine], clock: clock, wallClock: wallClock,
      seed: random.next()
    ).makeDiskTier()
    pool = try Self.makePool(arena, tier, clock, wallClock)
    try begin()
    try checkPromises()
  }

  /// All that was promised is there, as it was stored or as its lossy form says.
  private func checkPromises() throws {
    for (name, record) in records where record.isPromised {
      totals.required += 1
      guard case .held(let held) = tier.find(key(name), in: namespaces[name.tenant].name) else {
        throw DiskDifference(description: "missed \(name), which is durable")
      }
      try expect(
        held.checksum == Checksum(of: content(name, record.epoch)),
        "\(name) is another object")
    }
    for name in records.keys.sorted(by: { ($0.tenant, $0.number) < ($1.tenant, $1.number) })
    where random.isOne(in: 3) {
      startRead(name)
    }
    try settle()
  }

  // MARK: Names and bytes

  func anyName() -> Name {
    Name(
      tenant: random.isOne(in: 3) ? 1 : 0, number: random.number(below: Self.keyCount))
  }

  func key(_ name: Name) -> ObjectKey {
    ObjectKey(opaque: HashChain.opaque([9, UInt8(name.number)]))
  }

  /// The bytes under a name: of most objects they come in pairs, so that an exact form pays.
  func content(_ name: Name, _ epoch: Int) -> [UInt8] {
    let version = Version(name: name, epoch: epoch)
    if let known = contents[version] { return known }
    let made = makeContent(name, epoch)
    contents[version] = made
    return made
  }

  private func makeContent(_ name: Name, _ epoch: Int) -> [UInt8] {
    var source = RandomSource(
      seed: UInt64(name.number) << 32 | UInt64(name.tenant) << 24 | UInt64(epoch))
    let count = 600 + name.number * 811
    let isPaired = name.number % 5 != 0
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
      let word = source.next()
      for shift in stride(from: UInt64(0), to: 64, by: 16) {
        let byte = UInt8(truncatingIfNeeded: word >> shift)
        bytes += isPaired ? [byte, byte] : [byte, byte ^ 0x11]
      }
    }
    return Array(bytes.prefix(isPaired ? count & ~1 : count))
  }

  /// Lets devices and coders work.
  func work(steps: Int) {
    for _ in 0..<steps where disk.isPowered {
      switch random.number(below: 4) {
      case 0: _ = encoding.step(&random)
      case 1: _ = decoding.step(&random)
      default: _ = engine.step()
      }
    }
  }

  /// Lets everything that was asked for come to its end.
  func settle() throws {
    var rounds = 0
    while disk.isPowered {
      takeLooks()
      work(steps: 200)
      advance(milliseconds: 300)
      try check()
      let isIdle = engine.isIdle && encoding.isIdle && decoding.isIdle && reads.isEmpty
      if isIdle, pool.statistics.coding.queued == 0, pool.writeBehind.leasedObjects == 0 { return }
      rounds += 1
      try expect(
        rounds < 300,
        "no rest: \(reads.count) reads, \(pool.statistics.coding), \(pool.writeBehind)")
    }
  }

  func advance(milliseconds: UInt64) {
    clock.advance(milliseconds: milliseconds)
    wallClock.set(milliseconds: wallClock.milliseconds() + milliseconds)
    _ = pool.sweep(now: clock.now())
  }
}

extension CodingDriver.Totals {
  mutating func add(_ other: CodingStatistics) {
    coding.encoded += other.encoded
    coding.declined += other.declined
    coding.failed += other.failed
    coding.withoutRoom += other.withoutRoom
    coding.overflows += other.overflows
    coding.replaced += other.replaced
    coding.rewritten += other.rewritten
    coding.rewritesRefused += other.rewritesRefused
    coding.decoded += other.decoded
    coding.decodesJoined += other.decodesJoined
    coding.decodesFailed += other.decodesFailed
  }
}
