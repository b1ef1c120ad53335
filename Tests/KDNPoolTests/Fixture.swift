import KDNCore
import KDNMemory
import KDNTier

@testable import KDNPool

/// A pool over a small arena, one tenant, one layout of 1 KiB per token, and a clock to play.
struct Fixture {
  let clock = ManualClock()
  let wallClock = ManualWallClock()
  let arena: Arena
  let pool: Pool
  let tenant: Namespace
  let layout: Layout
  let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)

  /// A pool with room for `kibibytes` in slabs of 64 KiB.
  init(
    kibibytes: Int = 256, slabKibibytes: Int = 64,
    tier: ScriptedTier? = nil, stagingKibibytes: Int = 0,
    admission: any AdmissionPolicy = AdmitAll(),
    adjust: (inout PoolConfiguration) -> Void = { _ in }
  ) throws {
    try self.init(
      kibibytes: kibibytes, slabKibibytes: slabKibibytes, policy: ChainAwarePolicy(),
      tier: tier, stagingKibibytes: stagingKibibytes, admission: admission, adjust: adjust)
  }

  init(
    kibibytes: Int = 256, slabKibibytes: Int = 64, policy: some EvictionPolicy,
    tier: ScriptedTier? = nil, stagingKibibytes: Int = 0,
    admission: any AdmissionPolicy = AdmitAll(),
    adjust: (inout PoolConfiguration) -> Void = { _ in }
  ) throws {
    arena = try Self.arena(kibibytes, slabKibibytes)
    let staging = stagingKibibytes > 0 ? try Self.arena(stagingKibibytes, slabKibibytes) : nil
    var configuration = PoolConfiguration(memoryBytesMax: 0)
    configuration.ghostsMax = 1 << 14
    configuration.memoryBytesMax =
      (kibibytes + stagingKibibytes) << 10 + configuration.fixedBytes + 4 << 20
    if tier != nil { configuration.memoryBytesMax += configuration.writeQueueBytes }
    adjust(&configuration)
    pool = Pool(
      configuration: configuration, arena: arena, clock: clock, wallClock: wallClock,
      tier: tier, staging: staging, admission: admission
    ) { policy }
    tenant = try pool.namespace(NamespaceName("tenant"))
    layout = try Layout(
      elementType: .i8,
      groups: [LayoutGroup(kind: .opaque(bytesPerToken: 1024), layers: [0])])
    _ = try pool.register(layout, in: tenant)
  }

  private static func arena(_ kibibytes: Int, _ slabKibibytes: Int) throws -> Arena {
    try Arena(
      ArenaConfiguration(
        capacityBytes: kibibytes << 10, slabBytes: slabKibibytes << 10, hugePages: .off,
        lockMemory: .off, numa: .off, prefault: false))
  }

  func hash(_ number: Int) -> ChunkHash {
    HashChain.opaque([UInt8(number & 255), UInt8(number >> 8 & 255), UInt8(number >> 16)])
  }

  func key(_ number: Int, variant: UInt32 = 0) -> ObjectKey {
    ObjectKey(hash: hash(number), layout: layout.id, part: part, variant: variant)
  }

  /// Facts of chunk `number`; its first token lies at 64 tokens times the number.
  func facts(
    _ number: Int, after parent: Int? = nil, tokens: Int = 32, variant: UInt32 = 0,
    ttl: UInt64 = 0, cost: UInt64 = 0
  ) -> StoreFacts {
    StoreFacts(
      key: key(number, variant: variant), parent: parent.map(hash) ?? .none,
      byteCount: tokens * 1024, firstToken: number * 64, tokenCount: tokens,
      ttlMilliseconds: ttl, recomputeMicroseconds: cost)
  }

  @discardableResult
  func store(
    _ facts: StoreFacts, checksum: UInt64 = 7, in namespace: Namespace? = nil
  ) throws -> PublishAnswer {
    let namespace = namespace ?? tenant
    switch try pool.reserve(facts, in: namespace) {
    case .present: return try pool.confirm(facts, checksum: Checksum(checksum), in: namespace)
    case .reserved(let reservation):
      return try pool.publish(
        reservation, facts, checksum: Checksum(checksum), in: namespace)
    }
  }

  /// Stores chunks that each build on the one before.
  func storeChain(_ numbers: [Int], tokens: Int = 32) throws {
    var parent: Int?
    for number in numbers {
      try store(facts(number, after: parent, tokens: tokens))
      parent = number
    }
  }

  /// Another tenant with the same layout.
  func addTenant(_ name: String, _ limits: NamespaceLimits = .none) throws -> Namespace {
    let namespace = try pool.namespace(NamespaceName(name))
    _ = try pool.register(layout, in: namespace)
    pool.setLimits(limits, of: namespace)
    return namespace
  }

  /// Which of the numbers a tenant has.
  func present(_ numbers: some Sequence<Int>, in namespace: Namespace) -> [Int] {
    numbers.filter { pool.contains(key($0), in: namespace) }
  }

  func has(_ number: Int) -> Bool { pool.contains(key(number), in: tenant) }

  func present(_ numbers: some Sequence<Int>) -> [Int] { numbers.filter(has) }

  func missCause(_ number: Int, variant: UInt32 = 0) -> MissCause? {
    switch pool.lookup(key(number, variant: variant), in: tenant) {
    case .hit: nil
    case .miss(let cause): cause
    }
  }

  func match(
    _ numbers: [Int], lease: UInt64? = nil, owner: UInt64 = 1
  ) throws(PoolRefusal) -> MatchAnswer {
    try pool.match(
      MatchQuery(
        layout: layout.id, parts: [part], hashes: numbers.map(hash), leaseMilliseconds: lease),
      in: tenant, owner: OwnerID(number: owner))
  }

  /// Purges, and gives what was counted; the completion must come at once.
  @discardableResult
  func purge(
    _ scope: PurgeScope, in namespace: Namespace? = nil
  ) -> (objects: Int, bytes: Int) {
    let answer = Box<PurgeCount?>(nil)
    pool.purge(scope, in: namespace ?? tenant) { result in
      answer.set(try? result.get())
    }
    return answer.value.map { ($0.objects, $0.bytes) } ?? (-1, -1)
  }

  /// The refusal that `body` throws.
  func refusal(_ body: () throws -> Void) -> PoolRefusal? {
    do {
      try body()
      return nil
    } catch {
      return error as? PoolRefusal
    }
  }
}

/// A value that a closure can set.
final class Box<Value: Sendable>: Sendable {
  private let content: Guarded<Value>

  init(_ value: Value) { content = Guarded(value) }

  var value: Value { content.withLock { $0 } }

  func change(_ body: (inout Value) -> Void) { content.withLock { body(&$0) } }

  func set(_ value: Value) { content.withLock { $0 = value } }
}
