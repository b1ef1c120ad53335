package import KDNCore
package import KDNMemory
internal import Synchronization

/// One object that can be read: its name, its facts and its bytes.
///
/// What changes is kept in atomics so that sharing is safe by itself; the locks order the changes:
/// uses and leases grow under the stripe lock, and all but uses falls or moves under the
/// residency lock.
package final class StoredObject: Sendable {
  /// The full name.
  package let key: ObjectKey
  /// Hash of the chunk before, `ChunkHash.none` for a first chunk or an opaque object.
  package let parent: ChunkHash
  /// Length in bytes.
  package let byteCount: Int
  /// XXH3-64 of the bytes, taken when they were stored.
  package let checksum: Checksum
  /// How many tokens; 0 for an opaque object.
  package let tokenCount: Int
  /// Position of the first token in its chain.
  package let firstToken: Int
  /// When its TTL ends; `Instant.never` without one.
  package let expiry: Instant
  /// The bytes.
  package let block: Block

  let namespace: Namespace
  let generation: UInt64
  let recomputeMicroseconds: UInt64
  private let charge: IndexCharge

  private let uses = Atomic<UInt64>(0)
  private let lastUse = Atomic<UInt64>(0)
  private let ageAtLastUseBits = Atomic<UInt64>(0)
  private let leaseCount = Atomic<Int>(0)
  private let residentSlot = Atomic<Int32>(-1)

  init(
    _ facts: StoreFacts, checksum: Checksum, block: Block, charge: consuming IndexCharge,
    namespace: Namespace, generation: UInt64, now: Instant
  ) {
    key = facts.key
    parent = facts.parent
    byteCount = facts.byteCount
    self.checksum = checksum
    tokenCount = facts.tokenCount
    firstToken = facts.firstToken
    expiry =
      facts.ttlMilliseconds == 0 ? .never : now.advanced(milliseconds: facts.ttlMilliseconds)
    self.block = block
    self.namespace = namespace
    self.generation = generation
    recomputeMicroseconds = facts.recomputeMicroseconds
    self.charge = charge
  }

  /// Place among the resident objects; -1 when not among them.
  var slot: Int32 {
    get { residentSlot.load(ordering: .relaxed) }
    set { residentSlot.store(newValue, ordering: .relaxed) }
  }

  /// How many leases of matches keep the object.
  var leases: Int { leaseCount.load(ordering: .acquiring) }

  /// Adds a lease; the stripe lock must be held.
  func addLease() { leaseCount.wrappingAdd(1, ordering: .acquiringAndReleasing) }

  /// Ends a lease and says whether it was the last; the residency lock must be held.
  func endLease() -> Bool {
    leaseCount.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
  }

  /// Notes a use: the `order`-th in the pool, at policy age `age`; the stripe lock must be held.
  func noteUse(order: UInt64, age: Double) {
    uses.wrappingAdd(1, ordering: .relaxed)
    lastUse.store(order, ordering: .relaxed)
    ageAtLastUseBits.store(age.bitPattern, ordering: .relaxed)
  }

  /// What the policy may know.
  func evictionFacts(isOrphan: Bool) -> EvictionFacts {
    EvictionFacts(
      byteCount: byteCount, tokenCount: tokenCount, firstToken: firstToken,
      recomputeMicroseconds: recomputeMicroseconds, uses: uses.load(ordering: .relaxed),
      lastUse: lastUse.load(ordering: .relaxed),
      ageAtLastUse: Double(bitPattern: ageAtLastUseBits.load(ordering: .relaxed)),
      isOrphan: isOrphan)
  }

  /// Whether the object is of its namespace's present generation and its TTL has not ended.
  func isLive(at now: Instant) -> Bool {
    generation == namespace.generation && now < expiry
  }

  /// Whether `other` is the same slice and form of another chunk of the same tenant and time.
  func isAkin(to other: StoredObject) -> Bool {
    namespace === other.namespace && generation == other.generation && key.kind == other.key.kind
      && key.layout == other.key.layout && key.part == other.key.part
      && key.variant == other.key.variant
  }
}
