package import KDNCore
internal import KDNMemory
internal import KDNTier
internal import Synchronization

/// When an object was stored, and when it ends.
struct ObjectAge: Sendable {
  let expiry: Instant
  /// By the wall clock, since 1970; 0 if nobody will ask.
  let storedAtMilliseconds: UInt64
}

/// One object that can be read: its name, its facts and its bytes.
///
/// What changes is kept in atomics so that sharing is safe by itself; the locks order the changes:
/// uses and leases grow under the stripe lock, and all but uses and the way to the slower tier
/// falls or moves under the residency lock.
package final class StoredObject: Sendable {
  /// The full name.
  package let key: ObjectKey
  /// Hash of the chunk before, `ChunkHash.none` for a first chunk or an opaque object.
  package let parent: ChunkHash
  /// Length in bytes, as it was stored.
  package let byteCount: Int
  /// XXH3-64 of the bytes as they were stored, taken then.
  package let checksum: Checksum
  /// How many tokens; 0 for an opaque object.
  package let tokenCount: Int
  /// Position of the first token in its chain.
  package let firstToken: Int
  /// When its TTL ends; `Instant.never` without one.
  package let expiry: Instant

  /// Whether the daemon put it together of others: it stays in RAM as it is, and nowhere else.
  let isDerived: Bool
  let namespace: Namespace
  let generation: UInt64
  let recomputeMicroseconds: UInt64
  /// When it was stored, in milliseconds since 1970; 0 without a slower tier.
  let storedAtMilliseconds: UInt64
  let ttlMilliseconds: UInt64
  /// What its tokens take in the layout's own form; `byteCount` where that is not known.
  let rawByteCount: Int
  /// Its way to the slower tier.
  let writeState = WriteState()
  private let charge: IndexCharge
  /// Its bytes in their present form; changes under the residency and the stripe lock.
  private let presentBody: Guarded<StoredBody>
  /// Whether they are encoded, for those who only want to know that.
  private let hasForm: Atomic<Bool>
  /// Codecs that did not pay or failed, a bit each; nobody tries them again.
  private let declinedCodecs = Atomic<UInt32>(0)

  private let heldBelow: Atomic<Bool>
  private let uses = Atomic<UInt64>(0)
  private let lastUse = Atomic<UInt64>(0)
  private let lastUseSecond = Atomic<UInt32>(0)
  private let ageAtLastUseBits = Atomic<UInt64>(0)
  private let leaseCount = Atomic<Int>(0)
  private let residentSlot = Atomic<Int32>(-1)
  private let arrivalNumber = Atomic<UInt64>(0)

  init(
    _ facts: StoreFacts, checksum: Checksum, block: Block, form: StoredForm? = nil,
    charge: consuming IndexCharge, namespace: Namespace, generation: UInt64, age: ObjectAge,
    isHeld: Bool = false, isDerived: Bool = false
  ) {
    key = facts.key
    parent = facts.parent
    byteCount = facts.byteCount
    self.checksum = checksum
    tokenCount = facts.tokenCount
    firstToken = facts.firstToken
    expiry = age.expiry
    self.isDerived = isDerived
    storedAtMilliseconds = age.storedAtMilliseconds
    ttlMilliseconds = facts.ttlMilliseconds
    heldBelow = Atomic(isHeld)
    presentBody = Guarded(
      StoredBody(block, form: form, checksum: form?.checksum ?? checksum))
    hasForm = Atomic(form != nil)
    self.namespace = namespace
    self.generation = generation
    recomputeMicroseconds = facts.recomputeMicroseconds
    rawByteCount = namespace.rawByteCount(of: facts)
    self.charge = charge
  }

  /// Its bytes in their present form.
  var body: StoredBody {
    get { presentBody.withLock { $0 } }
    set {
      presentBody.withLock { $0 = newValue }
      hasForm.store(newValue.form != nil, ordering: .releasing)
    }
  }

  /// Whether its bytes are encoded; costs no lock.
  var isEncoded: Bool { hasForm.load(ordering: .acquiring) }

  /// How many bytes are kept.
  var storedBytes: Int { body.block.byteCount }

  /// Whether a codec was tried in vain.
  func hasDeclined(_ codec: UInt8) -> Bool {
    isDerived || declinedCodecs.load(ordering: .relaxed) & CodecSet.bit(of: codec) != 0
  }

  func decline(_ codec: UInt8) {
    declinedCodecs.bitwiseOr(CodecSet.bit(of: codec), ordering: .relaxed)
  }

  /// Place among the resident objects; -1 when not among them.
  var slot: Int32 {
    get { residentSlot.load(ordering: .relaxed) }
    set { residentSlot.store(newValue, ordering: .relaxed) }
  }

  /// How many objects had come to RAM when it did, itself among them; 0 before.
  var arrival: UInt64 {
    get { arrivalNumber.load(ordering: .relaxed) }
    set { arrivalNumber.store(newValue, ordering: .relaxed) }
  }

  /// Whether the slower tier was last known to hold it too; changes under the residency lock.
  var isHeld: Bool {
    get { heldBelow.load(ordering: .acquiring) }
    set { heldBelow.store(newValue, ordering: .releasing) }
  }

  /// How many leases of matches keep the object.
  var leases: Int { leaseCount.load(ordering: .acquiring) }

  /// Adds a lease; the stripe lock must be held.
  func addLease() { leaseCount.wrappingAdd(1, ordering: .acquiringAndReleasing) }

  /// Ends a lease and says whether it was the last; the residency lock must be held.
  func endLease() -> Bool {
    leaseCount.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
  }

  /// Notes a use, the `order`-th in the pool, at policy age `age` and in this second of the
  /// pool's clock, and returns how many there are; the stripe lock must be held.
  @discardableResult
  func noteUse(order: UInt64, age: Double, second: UInt32) -> UInt64 {
    let count = uses.wrappingAdd(1, ordering: .relaxed).newValue
    lastUse.store(order, ordering: .relaxed)
    lastUseSecond.store(second, ordering: .relaxed)
    ageAtLastUseBits.store((age + namespace.aging).bitPattern, ordering: .relaxed)
    return count
  }

  /// The second of the pool's clock in which it was last used, as of the tick before.
  var secondOfLastUse: UInt32 { lastUseSecond.load(ordering: .relaxed) }

  /// How often it was used, its publication included.
  var useCount: UInt64 { uses.load(ordering: .relaxed) }

  /// What the policy may know.
  func evictionFacts(isOrphan: Bool) -> EvictionFacts {
    EvictionFacts(
      byteCount: storedBytes, tokenCount: tokenCount, firstToken: firstToken,
      recomputeMicroseconds: recomputeMicroseconds, uses: uses.load(ordering: .relaxed),
      lastUse: lastUse.load(ordering: .relaxed),
      ageAtLastUse: Double(bitPattern: ageAtLastUseBits.load(ordering: .relaxed)),
      // What is derived is soon made again, but not without what it was made of: that stays longer.
      isOrphan: isOrphan || isDerived)
  }

  /// Whether the object is of its namespace's present generation and its TTL has not ended.
  func isLive(at now: Instant) -> Bool {
    generation == namespace.generation && now < expiry
  }

  /// All that a slower tier keeps besides the bytes, which are in this form.
  func tierFacts(_ form: StoredForm?) -> ObjectFacts {
    ObjectFacts(
      namespace: namespace.name, generation: generation, key: key, parent: parent,
      byteCount: byteCount, checksum: checksum, form: form, firstToken: firstToken,
      tokenCount: tokenCount, recomputeMicroseconds: recomputeMicroseconds,
      storedAtMilliseconds: storedAtMilliseconds, ttlMilliseconds: ttlMilliseconds)
  }

  /// Whether these are its bytes, as far as a checksum can tell.
  func holds(_ checksum: Checksum, _ byteCount: Int) -> Bool {
    self.checksum == checksum && self.byteCount == byteCount
  }

  /// Whether `other` is the same slice and form of another chunk of the same tenant and time.
  func isAkin(to other: StoredObject) -> Bool {
    namespace === other.namespace && generation == other.generation && key.kind == other.key.kind
      && key.layout == other.key.layout && key.part == other.key.part
      && key.variant == other.key.variant
  }
}
