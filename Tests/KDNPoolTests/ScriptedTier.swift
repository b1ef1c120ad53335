import KDNCore
import KDNMemory
import KDNTier
import Synchronization

/// A tier in memory whose reads and writes end when the test says so, and as it says.
final class ScriptedTier: Tier {
  struct Name: Hashable, Sendable {
    let namespace: NamespaceName
    let key: ObjectKey
  }

  /// An object that it holds.
  struct Stored: Sendable {
    var facts: ObjectFacts
    var bytes: [UInt8]
    var isDurable = false
    /// Its place in a list.
    var number: UInt64 = 0
  }

  /// How reads or writes end from now on.
  enum Mode<Fault: Sendable>: Sendable {
    /// When the test releases them.
    case byHand
    /// Before the call returns.
    case atOnce
    /// Before the call returns, by this fault.
    case fault(Fault)
  }

  struct Write: Sendable {
    let facts: ObjectFacts
    let bytes: TierBytes
    let isDurable: Bool
    /// How many purges there had been when it was handed over.
    let purgeCount: Int
    let completion: @Sendable (Result<Void, TierRefusal>) -> Void
  }

  struct Purge: Sendable {
    let namespace: NamespaceName
    let scope: TierPurge
  }

  struct Read: Sendable {
    let name: Name
    let room: TierRoom
    let completion: @Sendable (TierReading) -> Void
  }

  struct State: Sendable {
    var isReady = true
    var reads: Mode<TierReading> = .byHand
    var writes: Mode<TierRefusal> = .byHand
    var purgeRefusal: TierRefusal?
    var rewriteRefusal: TierRefusal?
    var holdsPurges = false
    var stored: [Name: Stored] = [:]
    var causes: [Name: MissCause] = [:]
    var generations: [NamespaceName: UInt64] = [:]
    var layouts: [NamespaceName: [Layout]] = [:]
    var pendingReads: [Read] = []
    var pendingWrites: [Write] = []
    var purges: [Purge] = []
    var pendingPurges: [@Sendable () -> Void] = []
    var pendingDurable: [@Sendable () -> Void] = []
    var pins: [Name: UInt64] = [:]
    var limits: [NamespaceName: NamespaceLimits] = [:]
    var lastNumber: UInt64 = 0
    var holds: [Name: Instant] = [:]
    /// Names whose records a start would find although they were dropped.
    var shadows: Set<Name> = []
    /// What the test does, once, when it is asked to find an object or to purge.
    var onFind: (@Sendable () -> Void)?
    var onPurge: (@Sendable () -> Void)?
    /// Everything that it was asked, in order, by a word.
    var log: [String] = []
  }

  let state = Guarded(State())

  func count(_ word: String) -> Int { state.withLock { $0.log.count { $0 == word } } }

  private func note(_ word: String) { state.withLock { $0.log.append(word) } }

  private func act(_ part: WritableKeyPath<State, (@Sendable () -> Void)?> & Sendable) {
    let act = state.withLock { state in
      let act = state[keyPath: part]
      state[keyPath: part] = nil
      return act
    }
    act?()
  }

  // MARK: What the pool asks

  func start() { note("start") }
  var isReady: Bool { state.withLock { $0.isReady } }

  func generation(of namespace: NamespaceName) -> UInt64 {
    state.withLock { $0.generations[namespace] ?? 0 }
  }

  func layouts(of namespace: NamespaceName) -> [Layout] {
    state.withLock { $0.layouts[namespace] ?? [] }
  }

  func find(_ key: ObjectKey, in namespace: NamespaceName) -> TierFinding {
    let name = Name(namespace: namespace, key: key)
    act(\.onFind)
    return state.withLock { state in
      state.log.append("find")
      guard state.isReady else { return .notReady }
      guard let stored = state.stored[name] else { return .absent(state.causes[name]) }
      return .held(
        HeldFacts(
          byteCount: stored.facts.byteCount, checksum: stored.facts.checksum,
          form: stored.facts.form, isDurable: stored.isDurable, isPinned: state.pins[name] != nil))
    }
  }

  func touch(_ key: ObjectKey, in namespace: NamespaceName) { note("touch") }

  func hold(_ key: ObjectKey, in namespace: NamespaceName, until end: Instant) -> Bool {
    let name = Name(namespace: namespace, key: key)
    return state.withLock { state in
      guard state.stored[name] != nil else { return false }
      state.holds[name] = end
      return true
    }
  }

  func write(
    _ facts: ObjectFacts, _ bytes: TierBytes, isDurable: Bool,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    let (write, mode) = state.withLock { state -> (Write, Mode<TierRefusal>) in
      let write = Write(
        facts: facts, bytes: bytes, isDurable: isDurable, purgeCount: state.purges.count,
        completion: completion)
      state.log.append(isDurable ? "write durable" : "write")
      if case .byHand = state.writes { state.pendingWrites.append(write) }
      return (write, state.writes)
    }
    switch mode {
    case .byHand: break
    case .atOnce: finish(write)
    case .fault(let refusal): completion(.failure(refusal))
    }
  }

  func makeDurable(
    _ key: ObjectKey, in namespace: NamespaceName,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    let name = Name(namespace: namespace, key: key)
    let isHere = state.withLock { state in
      state.log.append("make durable")
      state.stored[name]?.isDurable = true
      return state.stored[name] != nil
    }
    completion(isHere ? .success(()) : .failure(.gone))
  }

  func read(
    _ key: ObjectKey, in namespace: NamespaceName, into room: TierRoom,
    completion: @escaping @Sendable (TierReading) -> Void
  ) {
    let read = Read(
      name: Name(namespace: namespace, key: key), room: room, completion: completion)
    let mode = state.withLock { state -> Mode<TierReading> in
      state.log.append("read")
      if case .byHand = state.reads { state.pendingReads.append(read) }
      return state.reads
    }
    switch mode {
    case .byHand: break
    case .atOnce: finish(read)
    case .fault(let reading): completion(reading)
    }
  }

  func descendants(
    of hashes: Set<ChunkHash>, in namespace: NamespaceName
  ) -> Set<ChunkHash> {
    let all = state.withLock { $0.stored.values.map(\.facts) }
    var found: Set<ChunkHash> = []
    var isGrowing = true
    while isGrowing {
      isGrowing = false
      for facts in all where facts.namespace == namespace {
        guard hashes.contains(facts.parent) || found.contains(facts.parent) else { continue }
        if found.insert(facts.key.hash).inserted { isGrowing = true }
      }
    }
    return found
  }

  func mayReturn(_ key: ObjectKey, in namespace: NamespaceName) -> Bool {
    let name = Name(namespace: namespace, key: key)
    return state.withLock { state in
      !state.isReady || state.stored[name] != nil || state.shadows.contains(name)
        || state.pendingWrites.contains { write in
          write.facts.key == key && write.facts.namespace == namespace
            && !state.purges[write.purgeCount...].contains { purge in
              purge.namespace == namespace && Self.covers(purge.scope, write.facts)
            }
        }
    }
  }

  func purge(
    _ scope: TierPurge, in namespace: NamespaceName, counted: Set<ObjectKey>,
    completion: @escaping @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void
  ) {
    act(\.onPurge)
    let end = state.withLock { state -> @Sendable () -> Void in
      state.log.append("purge")
      state.purges.append(Purge(namespace: namespace, scope: scope))
      var objects = 0
      var bytes = 0
      if case .keys(let keys) = scope {
        for key in keys { state.shadows.remove(Name(namespace: namespace, key: key)) }
      }
      for (name, stored) in state.stored
      where name.namespace == namespace && Self.covers(scope, stored.facts) {
        state.stored[name] = nil
        state.causes[name] = .purged
        guard !counted.contains(name.key) else { continue }
        objects += 1
        bytes += stored.facts.storedBytes
      }
      if case .before(let generation) = scope { state.generations[namespace] = generation }
      let refusal = state.purgeRefusal
      let (sum, size) = (objects, bytes)
      let end: @Sendable () -> Void = {
        completion(refusal.map { .failure($0) } ?? .success((objects: sum, bytes: size)))
      }
      guard state.holdsPurges else { return end }
      state.pendingPurges.append(end)
      return {}
    }
    end()
  }

  func pin(
    _ keys: [ObjectKey], in namespace: NamespaceName, milliseconds: UInt64
  ) -> Result<[Bool], TierRefusal> {
    state.withLock { state in
      let names = keys.map { Name(namespace: namespace, key: $0) }
      let held = Set(names.filter { state.stored[$0] != nil })
      let pinned = held.union(state.pins.keys.filter { $0.namespace == namespace })
      let bytes = pinned.reduce(0) { $0 + (state.stored[$1]?.facts.byteCount ?? 0) }
      let limit = state.limits[namespace]?.pinnedBytesMax ?? .max
      guard bytes <= limit else { return .failure(.overQuota(limit: limit)) }
      for name in held { state.pins[name] = milliseconds }
      return .success(names.map(held.contains))
    }
  }

  func unpin(_ key: ObjectKey, in namespace: NamespaceName) -> Bool {
    let name = Name(namespace: namespace, key: key)
    return state.withLock { $0.pins.removeValue(forKey: name) != nil }
  }

  func register(_ layout: Layout, in namespace: NamespaceName) {
    state.withLock { $0.layouts[namespace, default: []].append(layout) }
  }

  func settle(completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void) {
    note("settle")
    completion(.success(()))
  }

  func tick(now: Instant) { note("tick") }

  func close(completion: @escaping @Sendable () -> Void) {
    note("close")
    completion()
  }
}
