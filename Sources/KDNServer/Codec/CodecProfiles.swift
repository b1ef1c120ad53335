internal import Dispatch
package import KDNCore
internal import KDNMemory
package import KDNPool
internal import KDNTier
package import KDNWire
internal import Logging
internal import Synchronization

/// Whoever encodes with profiles that clients have stored.
package protocol ProfileAdopting: Sendable {
  /// Checks the whole of a profile and encodes with it from now on, in place of an earlier one of
  /// the same layout and kind; called on a background queue.
  ///
  /// - Throws: a fault that names the field of the profile that is wrong.
  func adopt(
    _ profile: [UInt8], _ facts: CodecProfileFacts, in namespace: Namespace
  ) throws(FieldFault)
  /// Forgets all profiles of a namespace, and gives their memory back.
  func forget(_ namespace: NamespaceName)
  /// Profiles in memory, and their bytes.
  var loaded: (count: Int, bytes: Int) { get }
}

/// Profiles in numbers.
struct ProfileStatistics: Sendable, Equatable {
  /// How many objects are encoded with.
  var inUse = 0
  /// How many are in memory, those in use among them.
  var loaded = 0
  /// Their bytes.
  var loadedBytes = 0
  /// How many were in use before the start and could not be taken into use again.
  var lost: UInt64 = 0
}

/// The profiles in use, by namespace.
final class CodecProfiles: Sendable {
  /// Why a profile is not used.
  enum Problem: Error {
    /// The bytes are no profile, or not the one named.
    case fault(FieldFault)
    /// So many wait to be checked.
    case busy(Int)
  }

  /// Most profiles in use in one namespace.
  static let perNamespaceMax = 64
  /// Most that wait to be checked at a time: each takes time in proportion to its length.
  static let checksMax = 8
  /// How often the profiles of earlier runs are asked for, a second apart.
  private static let attemptsMax = 30

  fileprivate struct Slot: Hashable {
    let namespace: NamespaceName
    let layout: LayoutID
    let part: Part
    let kind: UInt8
  }

  private struct Keeping: Sendable {
    let store: ProfileUseStore
    let pool: Pool
    let pinMilliseconds: UInt64
    let log: Logger
  }

  /// Keeps the bytes where they are while they are checked.
  private final class Held: Sendable {
    let lease: ReadLease

    init(_ lease: consuming ReadLease) { self.lease = lease }
  }

  private let entries = Guarded<[Slot: CodecProfileFacts]>([:])
  private let adopter = Guarded<(any ProfileAdopting)?>(nil)
  private let checks = Atomic<Int>(0)
  /// What of earlier runs is to be used again, once its objects can be read.
  private let pending = Guarded<Set<ProfileUse>>([])
  /// Where uses are kept; nil: nowhere.
  private let keeping = Guarded<Keeping?>(nil)
  /// Uses of earlier runs that could not be taken up again.
  private let lost = Atomic<Int>(0)
  private let queue = DispatchQueue(label: "kdn.profile", qos: .utility)

  /// Whoever is told of each profile from now on.
  func setAdopter(_ adopter: any ProfileAdopting) { self.adopter.withLock { $0 = adopter } }

  /// The profiles in use in a namespace, of one layout or, for `LayoutID.none`, of all.
  func list(_ layout: LayoutID, in namespace: NamespaceName) -> [CodecProfileFacts] {
    let found = entries.withLock { entries in
      entries.filter { slot, _ in
        slot.namespace == namespace && (layout == .none || slot.layout == layout)
      }.map(\.value)
    }
    return found.sorted {
      ("\($0.layout)", $0.kind, "\($0.hash)") < ("\($1.layout)", $1.kind, "\($1.hash)")
    }
  }

  /// Whether a namespace has a profile in use that serves to encode so.
  func canEncode(_ codec: PayloadCodec, in namespace: NamespaceName) -> Bool {
    list(.none, in: namespace).contains { codec.isServed(byProfileOfKind: $0.kind) }
  }

  /// All profiles in numbers.
  var statistics: ProfileStatistics {
    let loaded = adopter.withLock { $0 }?.loaded ?? (count: 0, bytes: 0)
    return ProfileStatistics(
      inUse: entries.withLock { $0.count }, loaded: loaded.count, loadedBytes: loaded.bytes,
      lost: UInt64(lost.load(ordering: .relaxed)))
  }

  /// Checks the bytes of `lease` in the background and uses them; `completion` is called once, on
  /// any thread, when a restart of the daemon will find the use, if it is kept at all.
  func use(
    _ hash: ChunkHash, _ lease: consuming ReadLease, in namespace: Namespace,
    completion: @escaping @Sendable (Result<CodecProfileFacts, Problem>) -> Void
  ) {
    guard checks.add(1, ordering: .relaxed).newValue <= Self.checksMax else {
      checks.subtract(1, ordering: .relaxed)
      return completion(.failure(.busy(Self.checksMax)))
    }
    let held = Held(lease)
    let generation = namespace.generation
    queue.async { [self] in
      let result = check(hash, held.lease.lease.copied(), in: namespace, generation)
      checks.subtract(1, ordering: .relaxed)
      guard case .success = result, let keeping = keeping.withLock({ $0 }), keeping.store.isKept
      else { return completion(result) }
      save()
      keeping.pool.makeDurable(CodecProfileRequest.key(of: hash), in: namespace) { refusal in
        if let refusal {
          keeping.log.warning(
            "a profile in use may be gone after a restart: it is not on disk",
            metadata: ["namespace": "\(namespace.name)", "error": "\(refusal)"])
        }
        completion(result)
      }
    }
  }

  private func check(
    _ hash: ChunkHash, _ bytes: [UInt8], in namespace: Namespace, _ generation: UInt64
  ) -> Result<CodecProfileFacts, Problem> {
    do throws(FieldFault) {
      let facts = try CodecProfileFacts(readingHeaderOf: bytes, named: hash)
      let slot = Slot(facts, in: namespace.name)
      // Before it is loaded, which takes memory; nobody else adds any, since the queue is serial.
      try checkRoom(for: slot)
      try adopter.withLock { $0 }?.adopt(bytes, facts, in: namespace)
      entries.withLock { $0[slot] = facts }
      guard namespace.generation == generation else {
        forget(namespace.name)
        throw FieldFault("profile", value: 0, limit: 0, "the namespace was purged meanwhile")
      }
      return .success(facts)
    } catch {
      return .failure(.fault(error))
    }
  }

  private func checkRoom(for slot: Slot) throws(FieldFault) {
    let count = entries.withLock { entries in
      entries.keys.count { $0.namespace == slot.namespace && $0 != slot }
    }
    guard count < Self.perNamespaceMax else {
      throw FieldFault(
        "profiles", value: count + 1, limit: Self.perNamespaceMax, "too many in use")
    }
  }

  // MARK: Across restarts

  /// Keeps all uses in `store` from now on, and takes those that are there into use again once
  /// their objects can be read; to be called once, after `setAdopter`.
  func keep(
    in store: ProfileUseStore, of pool: Pool, pinMilliseconds: UInt64, log: Logger
  ) {
    let (uses, damaged) = store.load()
    lost.add(damaged, ordering: .relaxed)
    pending.withLock { $0 = Set(uses) }
    keeping.withLock {
      $0 = Keeping(store: store, pool: pool, pinMilliseconds: pinMilliseconds, log: log)
    }
    pool.onPurge { [weak self] name in self?.forget(name) }
    guard !uses.isEmpty else { return }
    queue.async { [weak self] in self?.restore(attempt: 1) }
  }

  /// Nothing is kept any more; the directories are given back.
  func close() { keeping.withLock { $0 }?.store.close() }

  /// Ends all uses of a namespace, whose objects are gone, and gives their memory back.
  func forget(_ namespace: NamespaceName) {
    let used = entries.withLock { entries -> Int in
      let slots = entries.keys.filter { $0.namespace == namespace }
      for slot in slots { entries[slot] = nil }
      return slots.count
    }
    let waiting = pending.withLock { pending -> Int in
      let uses = pending.filter { $0.namespace == namespace }
      pending.subtract(uses)
      return uses.count
    }
    adopter.withLock { $0 }?.forget(namespace)
    guard used + waiting > 0 else { return }
    queue.async { [weak self] in self?.save() }
  }

  /// Writes what is in use, and what is still to be; on the queue, so that the last one counts.
  private func save() {
    guard let keeping = keeping.withLock({ $0 }) else { return }
    let used = entries.withLock { entries in
      entries.map { ProfileUse(namespace: $0.key.namespace, hash: $0.value.hash) }
    }
    keeping.store.save(pending.withLock { $0 }.union(used))
  }

  private func restore(attempt: Int) {
    guard let keeping = keeping.withLock({ $0 }), keeping.store.isKept else { return }
    guard keeping.pool.isTierReady else { return restore(attempt, after: .milliseconds(50)) }
    let before = pending.withLock { $0 }
    for use in before {
      let stored = keeping.pool.readProfile(use.hash, in: use.namespace)
      // What a closing daemon cannot read is not lost.
      guard keeping.store.isKept else { return }
      if case .later = stored, attempt < Self.attemptsMax { continue }
      restore(use, stored, keeping)
    }
    let left = pending.withLock { $0 }
    if left != before { save() }
    if !left.isEmpty { restore(attempt + 1, after: .seconds(1)) }
  }

  private func restore(_ attempt: Int, after pause: DispatchTimeInterval) {
    queue.asyncAfter(deadline: .now() + pause) { [weak self] in self?.restore(attempt: attempt) }
  }

  /// Takes one profile into use again, or notes that it is lost.
  private func restore(_ use: ProfileUse, _ stored: StoredBytes, _ keeping: Keeping) {
    // Not if the namespace was purged meanwhile.
    guard pending.withLock({ $0.contains(use) }) else { return }
    let problem: String
    switch stored {
    case .later: problem = "cannot be read"
    case .missing(let cause): problem = cause.name
    case .found(let bytes):
      problem = adoptAgain(use, bytes, keeping)
    }
    _ = pending.withLock { $0.remove(use) }
    guard !problem.isEmpty else { return }
    lost.add(1, ordering: .relaxed)
    keeping.log.warning(
      "a profile that was in use cannot be used again",
      metadata: [
        "namespace": "\(use.namespace)", "profile": "\(use.hash)", "reason": "\(problem)",
      ])
  }

  /// Says why the profile cannot be used; nothing if it is, or if a newer one is in its place.
  private func adoptAgain(_ use: ProfileUse, _ bytes: [UInt8], _ keeping: Keeping) -> String {
    guard let namespace = try? keeping.pool.namespace(use.namespace) else { return "no namespace" }
    let generation = namespace.generation
    do {
      let facts = try CodecProfileFacts(readingHeaderOf: bytes, named: use.hash)
      let slot = Slot(facts, in: use.namespace)
      guard entries.withLock({ $0[slot] }) == nil else { return "" }
    } catch {
      return "\(error)"
    }
    guard case .failure(let failure) = check(use.hash, bytes, in: namespace, generation) else {
      let key = CodecProfileRequest.key(of: use.hash)
      // It holds for as long as if it had been taken into use now.
      _ = try? keeping.pool.pin(
        [key], ttlMilliseconds: keeping.pinMilliseconds, in: namespace)
      keeping.log.info(
        "a profile is used again",
        metadata: ["namespace": "\(use.namespace)", "profile": "\(use.hash)"])
      return ""
    }
    if case .fault(let fault) = failure { return "\(fault)" }
    return "busy"
  }
}

extension CodecProfiles.Slot {
  fileprivate init(_ facts: CodecProfileFacts, in namespace: NamespaceName) {
    self.init(namespace: namespace, layout: facts.layout, part: facts.part, kind: facts.kind)
  }
}
