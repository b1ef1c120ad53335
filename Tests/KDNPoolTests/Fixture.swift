import KDNCore
import KDNMemory

@testable import KDNPool

/// A pool over a small arena, one tenant, one layout of 1 KiB per token, and a clock to play.
struct Fixture {
  let clock = ManualClock()
  let arena: Arena
  let pool: Pool
  let tenant: Namespace
  let layout: Layout
  let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)

  /// A pool with room for `kibibytes` in slabs of 64 KiB.
  init(
    kibibytes: Int = 256, slabKibibytes: Int = 64,
    adjust: (inout PoolConfiguration) -> Void = { _ in }
  ) throws {
    try self.init(
      kibibytes: kibibytes, slabKibibytes: slabKibibytes, policy: ChainAwarePolicy(),
      adjust: adjust)
  }

  init(
    kibibytes: Int = 256, slabKibibytes: Int = 64, policy: some EvictionPolicy,
    adjust: (inout PoolConfiguration) -> Void = { _ in }
  ) throws {
    arena = try Arena(
      ArenaConfiguration(
        capacityBytes: kibibytes << 10, slabBytes: slabKibibytes << 10, hugePages: .off,
        lockMemory: .off, numa: .off, prefault: false))
    var configuration = PoolConfiguration(memoryBytesMax: 0)
    configuration.ghostsMax = 1 << 14
    configuration.memoryBytesMax = kibibytes << 10 + configuration.fixedBytes + 4 << 20
    adjust(&configuration)
    pool = Pool(configuration: configuration, arena: arena, clock: clock) { policy }
    tenant = try pool.namespace(NamespaceName("tenant"))
    layout = try Layout(
      elementType: .i8,
      groups: [LayoutGroup(kind: .opaque(bytesPerToken: 1024), layers: [0])])
    _ = try pool.register(layout, in: tenant)
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
