import KDNCore
import KDNMemory
import KDNTier
import Synchronization
import Testing

@testable import KDNPool

/// A pool over RAM and a scripted tier; object `number` is filled with that number.
struct TwoTiers {
  let tier: ScriptedTier
  let fixture: Fixture
  private let ending: Ending

  /// What is still under way at a test's end holds the pool, which holds the tier, which holds it.
  private final class Ending: Sendable {
    private let tier: ScriptedTier

    init(_ tier: ScriptedTier) { self.tier = tier }

    deinit { tier.forgetPending() }
  }

  /// RAM for eight objects of 32 KiB.
  init(
    kibibytes: Int = 256, stagingKibibytes: Int = 0, admission: any AdmissionPolicy = AdmitAll(),
    prepare: (ScriptedTier) throws -> Void = { _ in },
    adjust: (inout PoolConfiguration) -> Void = { _ in }
  ) throws {
    tier = ScriptedTier()
    ending = Ending(tier)
    try prepare(tier)
    fixture = try Fixture(
      kibibytes: kibibytes, tier: tier, stagingKibibytes: stagingKibibytes,
      admission: admission, adjust: adjust)
  }

  var pool: Pool { fixture.pool }
  var writes: WriteBehindStatistics { pool.writeBehind }
  var fetches: FetchStatistics { pool.statistics.fetches }

  func key(_ number: Int) -> ObjectKey { fixture.key(number) }

  static func checksum(_ number: Int, byteCount: Int = 32 << 10) -> Checksum {
    Checksum(of: [UInt8](repeating: UInt8(number & 255), count: byteCount))
  }

  /// Puts an object into the slower tier only, as an earlier run would have left it.
  func putBelow(
    _ number: Int, after parent: Int? = nil, tokens: Int = 32, ttl: UInt64 = 0,
    generation: UInt64 = 0
  ) {
    tier.put(
      ObjectFacts(
        namespace: fixture.tenant.name, generation: generation, key: key(number),
        parent: parent.map(fixture.hash) ?? .none, byteCount: tokens * 1024,
        checksum: Self.checksum(number, byteCount: tokens * 1024), firstToken: number * 64,
        tokenCount: tokens, recomputeMicroseconds: 5,
        storedAtMilliseconds: fixture.wallClock.milliseconds(), ttlMilliseconds: ttl),
      fill: UInt8(number & 255))
  }

  /// Stores an object whose bytes and checksum follow from its number.
  @discardableResult
  func store(
    _ number: Int, after parent: Int? = nil, tokens: Int = 32, ttl: UInt64 = 0
  ) throws -> PublishAnswer {
    let facts = fixture.facts(number, after: parent, tokens: tokens, ttl: ttl)
    let checksum = Self.checksum(number, byteCount: facts.byteCount)
    switch try pool.reserve(facts, in: fixture.tenant) {
    case .present: return try pool.confirm(facts, checksum: checksum, in: fixture.tenant)
    case .reserved(let reservation):
      reservation.memory.base.initializeMemory(
        as: UInt8.self, repeating: UInt8(number & 255), count: reservation.byteCount)
      return try pool.publish(
        reservation, facts, checksum: checksum, in: fixture.tenant)
    }
  }

  func isInRAM(_ number: Int) -> Bool {
    pool.live(key(number), in: fixture.tenant, now: fixture.clock.now()) != nil
  }

  func isBelow(_ number: Int) -> Bool { tier.storedKeys.contains(key(number)) }

  /// Begins a fetch, and counts how often it tells.
  func fetch(_ numbers: [Int]) -> (fetch: Fetch?, told: Told) {
    let told = Told()
    return (pool.fetch(numbers.map(key), in: fixture.tenant) { told.tell() }, told)
  }

  /// What is taken for an object: its first byte, or why it is missed, or nil.
  func take(_ number: Int, from fetch: Fetch?) -> Taken? {
    guard let lookup = fetch?.take(key(number)) else { return nil }
    return Taken(lookup)
  }

  func lookup(_ number: Int) -> Taken { Taken(pool.lookup(key(number), in: fixture.tenant)) }

  func purge(_ scope: PurgeScope) -> Box<Result<PurgeCount, PoolRefusal>?> {
    let answer = Box<Result<PurgeCount, PoolRefusal>?>(nil)
    pool.purge(scope, in: fixture.tenant) { answer.set($0) }
    return answer
  }

  /// Asks for durability; the box holds nil until the answer, then what was answered.
  func makeDurable(_ number: Int) -> Box<[PoolRefusal?]> {
    let answers = Box<[PoolRefusal?]>([])
    pool.makeDurable(key(number), in: fixture.tenant) { answers.set(answers.value + [$0]) }
    return answers
  }

  /// Pins what is in RAM so that nothing there can go.
  func pinAll(_ numbers: some Sequence<Int>, milliseconds: UInt64 = 1000) {
    _ = try? pool.pin(numbers.map(key), ttlMilliseconds: milliseconds, in: fixture.tenant)
  }
}

/// What a lookup gave, with all bytes compared.
enum Taken: Equatable {
  /// All bytes are this one.
  case filled(UInt8)
  case mixed
  case missed(MissCause)

  init(_ lookup: consuming Lookup) {
    switch consume lookup {
    case .miss(let cause): self = .missed(cause)
    case .hit(let hit):
      let bytes = UnsafeRawBufferPointer(start: hit.lease.base, count: hit.lease.byteCount)
      let first = bytes.first ?? 0
      self = bytes.allSatisfy { $0 == first } ? .filled(first) : .mixed
    }
  }
}

/// Counts how often somebody is told.
final class Told: Sendable {
  private let count = Atomic<Int>(0)
  func tell() { count.add(1, ordering: .sequentiallyConsistent) }
  var number: Int { count.load(ordering: .sequentiallyConsistent) }
}
