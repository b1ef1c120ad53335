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
    var holds: [Name: Instant] = [:]
    /// Everything that it was asked, in order, by a word.
    var log: [String] = []
  }

  let state = Guarded(State())

  func count(_ word: String) -> Int { state.withLock { $0.log.count { $0 == word } } }

  private func note(_ word: String) { state.withLock { $0.log.append(word) } }

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
    return state.withLock { state in
      state.log.append("find")
      guard state.isReady else { return .notReady }
      guard let stored = state.stored[name] else { return .absent(state.causes[name]) }
      return .held(
        HeldFacts(
          byteCount: stored.facts.byteCount, checksum: stored.facts.checksum,
          isDurable: stored.isDurable))
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

  func purge(
    _ scope: TierPurge, in namespace: NamespaceName, counted: Set<ObjectKey>,
    completion: @escaping @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void
  ) {
    let end = state.withLock { state -> @Sendable () -> Void in
      state.log.append("purge")
      state.purges.append(Purge(namespace: namespace, scope: scope))
      var objects = 0
      var bytes = 0
      for (name, stored) in state.stored
      where name.namespace == namespace && Self.covers(scope, stored.facts) {
        state.stored[name] = nil
        state.causes[name] = .purged
        guard !counted.contains(name.key) else { continue }
        objects += 1
        bytes += stored.facts.byteCount
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

  func pin(_ key: ObjectKey, in namespace: NamespaceName, milliseconds: UInt64) -> Bool {
    let name = Name(namespace: namespace, key: key)
    return state.withLock { state in
      guard state.stored[name] != nil else { return false }
      state.pins[name] = milliseconds
      return true
    }
  }

  func unpin(_ key: ObjectKey, in namespace: NamespaceName) -> Bool {
    let name = Name(namespace: namespace, key: key)
    return state.withLock { $0.pins.removeValue(forKey: name) != nil }
  }

  func register(_ layout: Layout, in namespace: NamespaceName) {
    state.withLock { $0.layouts[namespace, default: []].append(layout) }
  }

  func tick(now: Instant) { note("tick") }

  func close(completion: @escaping @Sendable () -> Void) {
    note("close")
    completion()
  }
}

extension ScriptedTier {
  // MARK: What the test says

  func set(_ change: (inout State) -> Void) { state.withLock { change(&$0) } }

  /// Puts an object in as if an earlier run had written it.
  func put(_ facts: ObjectFacts, fill: UInt8) {
    let bytes = [UInt8](repeating: fill, count: facts.byteCount)
    state.withLock {
      $0.stored[Name(namespace: facts.namespace, key: facts.key)] = Stored(
        facts: facts, bytes: bytes, isDurable: true)
    }
  }

  var pendingReads: Int { state.withLock { $0.pendingReads.count } }
  var pendingWrites: [ObjectKey] { state.withLock { $0.pendingWrites.map(\.facts.key) } }
  var storedKeys: Set<ObjectKey> { state.withLock { Set($0.stored.keys.map(\.key)) } }

  func pin(of key: ObjectKey) -> UInt64? {
    state.withLock { state in state.pins.first { $0.key.key == key }?.value }
  }

  /// Ends the oldest read that is under way, whole unless `reading` says otherwise.
  func endRead(_ reading: TierReading? = nil) {
    let read = state.withLock { state in
      state.pendingReads.isEmpty ? nil : state.pendingReads.removeFirst()
    }
    guard let read else { return }
    if let reading { read.completion(reading) } else { finish(read) }
  }

  func endReads() { while pendingReads > 0 { endRead() } }

  /// Ends the oldest write that is under way, well unless `refusal` says otherwise.
  func endWrite(_ refusal: TierRefusal? = nil) {
    let write = state.withLock { state in
      state.pendingWrites.isEmpty ? nil : state.pendingWrites.removeFirst()
    }
    guard let write else { return }
    if let refusal { write.completion(.failure(refusal)) } else { finish(write) }
  }

  func endWrites() { while !pendingWrites.isEmpty { endWrite() } }

  func endPurges() {
    let ends = state.withLock { state in
      let ends = state.pendingPurges
      state.pendingPurges = []
      return ends
    }
    for end in ends { end() }
  }

  /// Drops all that is under way, without an answer.
  func forgetPending() {
    let dropped = state.withLock { state in
      let dropped = state
      state = State()
      return dropped
    }
    withExtendedLifetime(dropped) {}
  }

  private func finish(_ write: Write) {
    let buffer = UnsafeRawBufferPointer(start: write.bytes.base, count: write.bytes.byteCount)
    let stored = Stored(facts: write.facts, bytes: Array(buffer), isDurable: write.isDurable)
    let isStored = state.withLock { state in
      // What was purged on its way is gone.
      let purges = state.purges[write.purgeCount...]
      guard
        !purges.contains(where: {
          $0.namespace == write.facts.namespace && Self.covers($0.scope, write.facts)
        })
      else { return false }
      let name = Name(namespace: write.facts.namespace, key: write.facts.key)
      if state.stored[name] == nil { state.stored[name] = stored }
      if write.isDurable { state.stored[name]?.isDurable = true }
      return true
    }
    write.completion(isStored ? .success(()) : .failure(.gone))
  }

  private func finish(_ read: Read) {
    let stored = state.withLock { $0.stored[read.name] }
    guard let stored else { return read.completion(.missed(.evicted)) }
    UnsafeMutableRawBufferPointer(start: read.room.base, count: read.room.byteCount)
      .copyBytes(from: stored.bytes)
    read.completion(.whole(stored.facts))
  }

  private static func covers(_ scope: TierPurge, _ facts: ObjectFacts) -> Bool {
    switch scope {
    case .keys(let keys): keys.contains(facts.key)
    case .chunks(let hashes): facts.key.kind == .layout && hashes.contains(facts.key.hash)
    case .layouts(let layouts): layouts.contains(facts.key.layout)
    case .before(let generation): facts.generation < generation
    }
  }
}
