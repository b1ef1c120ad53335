package import KDNCore

/// A place slower than RAM that keeps objects; all that the pool knows of it.
///
/// Everything may be called from any thread; nothing blocks on I/O but `start` (the journal). A
/// completion is called exactly once, on any thread, perhaps before the call returns, outside all
/// locks of the tier.
package protocol Tier: AnyObject, Sendable {
  /// Begins to find out what is there; until `isReady`, what is not known is `notReady`.
  func start()
  /// Whether everything that is there is known.
  var isReady: Bool { get }
  /// The generation of a namespace that was last made durable; 0 if none was.
  func generation(of namespace: NamespaceName) -> UInt64
  /// The layouts that were registered in a namespace, in earlier runs too.
  func layouts(of namespace: NamespaceName) -> [Layout]

  /// What the tier knows of an object, without I/O; not a use.
  func find(_ key: ObjectKey, in namespace: NamespaceName) -> TierFinding
  /// Counts a use.
  func touch(_ key: ObjectKey, in namespace: NamespaceName)
  /// Keeps an object that is here from being reclaimed until `end`, in this run only; false if it
  /// is not here.
  func hold(_ key: ObjectKey, in namespace: NamespaceName, until end: Instant) -> Bool

  /// Writes an object. `isDurable`: the completion waits until the bytes survive a loss of power;
  /// otherwise until they can be read back. An object that is here already is not written again.
  func write(
    _ facts: ObjectFacts, _ bytes: TierBytes, isDurable: Bool,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void)
  /// Writes an object that is here in another form, which takes its place at once when it is
  /// durable, and not before: a crash leaves the one or the other.
  ///
  /// `facts` are those of the object with the new form, `bytes` its bytes in that form. Fails with
  /// `gone` if the object is not here, is not the same any more, or is written in another way
  /// meanwhile; with `busy` also as long as it is not durable itself; else as `write` does.
  func rewrite(
    _ facts: ObjectFacts, _ bytes: TierBytes,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void)
  /// Waits until an object that is here, or on its way, survives a loss of power.
  func makeDurable(
    _ key: ObjectKey, in namespace: NamespaceName,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void)
  /// Reads an object whole, in the form that it is kept in, into `room` and checks it against that
  /// form's checksum; counts as a use.
  ///
  /// Room of another length than that form's is a miss: it is not the one that the caller saw.
  func read(
    _ key: ObjectKey, in namespace: NamespaceName, into room: TierRoom,
    completion: @escaping @Sendable (TierReading) -> Void)

  /// Hashes of all chunks here that build on one of `hashes`, at any distance.
  func descendants(of hashes: Set<ChunkHash>, in namespace: NamespaceName) -> Set<ChunkHash>
  /// Whether a crash could bring back a record of this name: one that is here or on its way, one
  /// that was dropped and lies on a device still, or one whose purge is not durable yet.
  ///
  /// May be true without need, never false in need. After a `purge` of the key that succeeded it is
  /// false until the key is written again.
  func mayReturn(_ key: ObjectKey, in namespace: NamespaceName) -> Bool
  /// Drops objects for good: the completion comes once no crash can bring them back, with count
  /// and bytes of those dropped whose keys are not among `counted`.
  func purge(
    _ scope: TierPurge, in namespace: NamespaceName, counted: Set<ObjectKey>,
    completion: @escaping @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void)
  /// Keeps objects from being reclaimed for a time, across restarts; says which are here and
  /// pinned.
  ///
  /// All or nothing: `.overQuota`, and no pin is changed, if the tenant's pins would take more than
  /// its `pinnedBytesMax`. What is pinned already counts once.
  func pin(
    _ keys: [ObjectKey], in namespace: NamespaceName, milliseconds: UInt64
  ) -> Result<[Bool], TierRefusal>
  /// Ends a pin; false if there was none.
  func unpin(_ key: ObjectKey, in namespace: NamespaceName) -> Bool
  /// Remembers a layout across restarts.
  func register(_ layout: Layout, in namespace: NamespaceName)

  /// Sets a tenant's quotas in bytes, nil for none; they count at once and in this run only.
  ///
  /// `diskBytesMax` bounds `TierUsage.bytes`: a write that would go beyond it has the tenant's own
  /// oldest objects dropped that are neither pinned nor held, or is refused. Usage beyond a new
  /// quota comes down in the same way, in pieces, with each `tick`. Pins beyond a new
  /// `pinnedBytesMax` last until they end; no other is taken till then.
  func setLimits(diskBytesMax: Int?, pinnedBytesMax: Int?, of namespace: NamespaceName)
  /// What a tenant has here, without a count.
  func usage(of namespace: NamespaceName) -> TierUsage
  /// What all objects here take, by the number of their form's codec.
  var forms: [UInt8: FormShare] { get }
  /// Objects of a tenant that are here, in a fixed order: those after `cursor`, or the first.
  ///
  /// At most `limit`; perhaps fewer, even none, although there are more: the end is where `next` is
  /// nil. An object that is there all the time is given exactly once. A cursor of whatever number
  /// does no harm. Before `isReady` the list has what is known so far.
  func list(
    in namespace: NamespaceName, after cursor: TierCursor?, limit: Int
  ) -> (objects: [TierListing], next: TierCursor?)
  /// Keys of all objects here of these hashes: every layout, part and variant, and opaque ones.
  func keys(of hashes: Set<ChunkHash>, in namespace: NamespaceName) -> [ObjectKey]

  /// Calls back once pins, their ends and layouts that came before survive a loss of power.
  func settle(completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void)

  /// Does what is due by the clock: group commits, ends of pins and holds.
  func tick(now: Instant)
  /// Ends all writing, leaves a checkpoint for the next start and gives the devices back.
  func close(completion: @escaping @Sendable () -> Void)
}

/// What `Tier.find` knows.
package enum TierFinding: Sendable, Equatable {
  /// It can be read, or is on its way.
  case held(HeldFacts)
  /// It is not here; the cause, if the tier remembers one.
  case absent(MissCause?)
  /// Not known yet.
  case notReady
}

/// How a read ended.
package enum TierReading: Sendable, Equatable {
  /// All bytes are in the room, and are those that were stored.
  case whole(ObjectFacts)
  /// It is not here, or not any more, or its bytes are damaged (then it has been dropped).
  case missed(MissCause)
  /// Too much is being read already.
  case busy
}

/// What a tier tells of an object without reading it.
package struct HeldFacts: Sendable, Equatable {
  /// Length in bytes, as it was stored.
  package var byteCount: Int
  /// XXH3-64 of these bytes.
  package var checksum: Checksum
  /// The form that it is kept in; nil: as it was stored.
  package var form: StoredForm?
  /// Whether it would survive a loss of power.
  package var isDurable: Bool
  /// Whether a client pinned it there.
  package var isPinned: Bool
  /// Milliseconds of its TTL that are left; nil without one.
  package var ttlMilliseconds: UInt64?

  /// Puts the facts together.
  package init(
    byteCount: Int, checksum: Checksum, form: StoredForm? = nil, isDurable: Bool,
    isPinned: Bool = false, ttlMilliseconds: UInt64? = nil
  ) {
    self.byteCount = byteCount
    self.checksum = checksum
    self.form = form
    self.isDurable = isDurable
    self.isPinned = isPinned
    self.ttlMilliseconds = ttlMilliseconds
  }

  /// Length of the bytes that are kept.
  package var storedBytes: Int { form?.byteCount ?? byteCount }
}

/// All that is kept of an object besides its bytes.
package struct ObjectFacts: Sendable, Equatable {
  /// The tenant.
  package var namespace: NamespaceName
  /// The tenant's generation when it was stored.
  package var generation: UInt64
  /// The full name.
  package var key: ObjectKey
  /// Hash of the chunk before, `ChunkHash.none` for a first chunk or an opaque object.
  package var parent: ChunkHash
  /// Length in bytes, at least 1, as it was stored.
  package var byteCount: Int
  /// XXH3-64 of these bytes.
  package var checksum: Checksum
  /// The form that its bytes are kept in; nil: as it was stored.
  package var form: StoredForm?
  /// Position of the first token in its chain.
  package var firstToken: Int
  /// How many tokens; 0 for an opaque object.
  package var tokenCount: Int
  /// Time to compute it anew, as its writer told; 0 if unknown.
  package var recomputeMicroseconds: UInt64
  /// When it was stored, in milliseconds since 1970 by the wall clock.
  package var storedAtMilliseconds: UInt64
  /// Its TTL from then on; 0 without one.
  package var ttlMilliseconds: UInt64

  /// Puts the facts together.
  package init(
    namespace: NamespaceName, generation: UInt64, key: ObjectKey, parent: ChunkHash = .none,
    byteCount: Int, checksum: Checksum, form: StoredForm? = nil, firstToken: Int = 0,
    tokenCount: Int = 0, recomputeMicroseconds: UInt64 = 0, storedAtMilliseconds: UInt64,
    ttlMilliseconds: UInt64 = 0
  ) {
    self.namespace = namespace
    self.generation = generation
    self.key = key
    self.parent = parent
    self.byteCount = byteCount
    self.checksum = checksum
    self.form = form
    self.firstToken = firstToken
    self.tokenCount = tokenCount
    self.recomputeMicroseconds = recomputeMicroseconds
    self.storedAtMilliseconds = storedAtMilliseconds
    self.ttlMilliseconds = ttlMilliseconds
  }

  /// Length of the bytes that are kept.
  package var storedBytes: Int { form?.byteCount ?? byteCount }
  /// XXH3-64 of the bytes that are kept.
  package var storedChecksum: Checksum { form?.checksum ?? checksum }

  /// The same facts of the same object in another form; nil: as it was stored.
  package func inForm(_ form: StoredForm?) -> ObjectFacts {
    var facts = self
    facts.form = form
    return facts
  }

  /// Milliseconds of the TTL that are left at `now` (wall clock); nil without a TTL, 0 at its end.
  ///
  /// A clock set back never makes a TTL longer than it was.
  package func ttlLeft(atWallMilliseconds now: UInt64) -> UInt64? {
    guard ttlMilliseconds > 0 else { return nil }
    guard now > storedAtMilliseconds else { return ttlMilliseconds }
    let age = now - storedAtMilliseconds
    return age >= ttlMilliseconds ? 0 : ttlMilliseconds - age
  }
}

/// What `Tier.purge` drops.
package enum TierPurge: Sendable {
  /// These objects.
  case keys([ObjectKey])
  /// All layout objects of these chunks.
  case chunks(Set<ChunkHash>)
  /// All objects of these layouts.
  case layouts([LayoutID])
  /// All objects of generations before this one.
  case before(generation: UInt64)
}

/// Why a tier does not do what it was asked for.
package enum TierRefusal: Error, Sendable, Equatable {
  /// Not now: too much is on its way, or there is no room yet.
  case busy
  /// The policy or the day's budget lets it not in.
  case notAdmitted
  /// It can never fit.
  case tooLarge(limit: Int)
  /// All devices have failed.
  case failed
  /// The tenant's quota, of `limit` bytes, has no room, and what may be dropped of its own objects
  /// at once would not make it.
  case overQuota(limit: Int)
  /// It was purged or dropped meanwhile.
  case gone
  /// The tier is closing.
  case closing
}
