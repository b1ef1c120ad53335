import KDNCore
import KDNMemory
import Synchronization

@testable import KDNPool

/// The pool does something else than the model.
struct Difference: Error, CustomStringConvertible {
  let description: String
}

/// Does random operations on a real pool and on the model, and compares every answer.
final class Driver {
  static let namespaceCount = 3
  static let openReservationsMax = 8

  /// Keeps a reservation where only copyable things fit.
  final class Holder {
    private var reservation: StoreReservation?

    init(_ reservation: consuming StoreReservation) {
      self.reservation = consume reservation
    }

    func publish(
      _ facts: StoreFacts, checksum: Checksum, to pool: Pool, in namespace: Namespace
    ) throws -> PublishAnswer {
      guard let taken = reservation.take() else {
        throw Difference(description: "a transfer ended twice")
      }
      return try pool.publish(taken, facts, checksum: checksum, in: namespace)
    }
  }

  /// An open reservation, to be published or dropped.
  final class Transfer {
    let holder: Holder
    let facts: StoreFacts
    let generation: UInt64
    let name: Model.Name
    let shape: StoreShape

    init(
      _ holder: Holder, _ facts: StoreFacts, generation: UInt64, name: Model.Name,
      shape: StoreShape
    ) {
      self.holder = holder
      self.facts = facts
      self.generation = generation
      self.name = name
      self.shape = shape
    }
  }

  /// A reader under way.
  final class Reader {
    let lease: ReadLease
    let id: Int

    init(_ lease: consuming ReadLease, id: Int) {
      self.lease = lease
      self.id = id
    }
  }

  /// A wait, and how often it was told.
  final class Wait: Sendable {
    let name: Model.Name
    let told = Atomic<Int>(0)

    init(_ name: Model.Name) { self.name = name }
  }

  var random: RandomSource
  let universe: Universe
  let clock = ManualClock()
  let arena: Arena
  let pool: Pool
  let namespaces: [Namespace]
  var model = Model(namespaces: namespaceCount)
  var transfers: [Transfer] = []
  var readers: [Reader] = []
  var waits: [(ticket: WaitTicket, wait: Wait)] = []
  var bufferBytes = 0
  var quotaRefusals = 0
  var bytesByObject: [Int: Int] = [:]
  let allKeys: [ObjectKey]

  init(seed: UInt64) throws {
    random = RandomSource(seed: seed)
    universe = try Universe()
    allKeys = universe.allKeys
    arena = try Arena(
      ArenaConfiguration(
        capacityBytes: 8 << 20, slabBytes: 1 << 20, hugePages: .off, lockMemory: .off,
        numa: .off, prefault: false))
    var configuration = PoolConfiguration(memoryBytesMax: 0)
    configuration.ghostsMax = 1 << 16
    configuration.leasesPerOwnerMax = 6
    configuration.objectOverheadBytes = 1000
    configuration.memoryBytesMax = 8 << 20 + configuration.fixedBytes + 440_000
    pool = Pool(configuration: configuration, arena: arena, clock: clock)
    let made = pool
    namespaces = try (0..<Self.namespaceCount).map {
      try made.namespace(NamespaceName("tenant-\($0)"))
    }
    for namespace in namespaces { _ = try pool.register(universe.layout, in: namespace) }
  }

  var now: UInt64 { clock.now().nanoseconds }

  func expect(_ isSo: Bool, _ difference: @autoclosure () -> String) throws {
    guard isSo else { throw Difference(description: difference()) }
  }

  /// Does one random operation.
  func step() throws {
    switch random.number(below: 100) {
    case 0..<28: try reserve()
    case 28..<48: try finishTransfer()
    case 48..<64: try lookup()
    case 64..<66: try contains()
    case 66..<74: try match()
    case 74..<78: try release()
    case 78..<82: try endReader()
    case 82..<84: try touch()
    case 84..<87: try pin()
    case 87..<89: try unpin()
    case 89..<90: try ownerEnds()
    case 90..<93: try wait()
    case 93..<94: try cancel()
    case 94..<97: advance()
    case 97..<98: try buffers()
    default: try rare()
    }
  }

  func rare() throws {
    switch random.number(below: 15) {
    case 12...: setLimits()
    case 0..<5: try purgeKeys()
    case 5..<7: try purgePrefixes()
    case 7..<10: try sweep()
    case 10: try pinMany()
    default:
      if random.isOne(in: 2) { try purgeWhole() }
    }
  }

  func anyName() -> (name: Model.Name, shape: StoreShape, namespace: Namespace) {
    // The first tenant is the busiest.
    let number = random.isOne(in: 2) ? 0 : random.number(below: Self.namespaceCount)
    let shape = universe.shape(&random)
    return (Model.Name(namespace: number, key: shape.key), shape, namespaces[number])
  }

  func advance() {
    clock.advance(milliseconds: UInt64(1 + random.number(below: random.isOne(in: 20) ? 900 : 15)))
  }

  func reserve() throws {
    guard transfers.count < Self.openReservationsMax else { return try finishTransfer() }
    let (name, shape, namespace) = anyName()
    let facts = facts(for: shape)
    let before = counts()
    let expectsPresent = model.live(name, now)
    let hasRoom = random.isOne(in: 16) && probeRoom(shape.byteCount, namespace)
    let outcome = try Self.attempt(pool, facts, in: namespace)
    let drops = counts() - before
    switch outcome {
    case .present(let checksum):
      try expect(drops == Counts(), "room was made for what is present")
      try expect(checksum == expectsPresent?.checksum, "present, but the model differs")
      try confirm(facts, checksum, namespace)
    case .reserved(let holder):
      try expect(expectsPresent == nil, "reserved although present: \(name)")
      let (own, refusals) = followQuota(name.namespace, shape.byteCount)
      try expect(refusals.isEmpty, "reserved although the quota is full: \(name)")
      model.openBytes[name.namespace] += shape.byteCount
      try expect(!hasRoom || drops == own, "evicted although there was room")
      try follow(drops - own)
      transfers.append(
        Transfer(
          holder, facts, generation: model.generations[name.namespace], name: name,
          shape: shape))
    case .busy(let retry):
      try expect(retry > 0, "busy without a time")
      try expect(expectsPresent == nil, "busy although present")
      let (own, refusals) = followQuota(name.namespace, shape.byteCount)
      guard refusals.isEmpty else {
        quotaRefusals += 1
        try expect(drops == own, "dropped \(drops) for a quota, the model \(own)")
        return try expect(refusals.contains(.busy), "busy, the model \(refusals): \(name)")
      }
      model.openBytes[name.namespace] += shape.byteCount
      defer { model.openBytes[name.namespace] -= shape.byteCount }
      try follow(drops - own)
      try expect(!hasRoom, "busy although there was room")
      try expect(model.dropNext(now) == nil, "busy although something could go")
    case .refused(let refusal):
      quotaRefusals += 1
      let (own, refusals) = followQuota(name.namespace, shape.byteCount)
      try expect(drops == own, "dropped \(drops) for a quota, the model \(own)")
      try expect(refusals.contains(refusal), "\(refusal), the model \(refusals): \(name)")
    }
  }

  private func confirm(
    _ facts: StoreFacts, _ checksum: UInt64, _ namespace: Namespace
  ) throws {
    let given = random.isOne(in: 4) ? checksum + 1 : checksum
    do {
      _ = try pool.confirm(facts, checksum: Checksum(given), in: namespace)
      try expect(given == checksum, "confirmed other bytes")
    } catch PoolRefusal.conflict(let found, _) {
      try expect(given != checksum && found.value == checksum, "conflict of the same bytes")
    }
  }

  private enum Outcome {
    case present(UInt64)
    case reserved(Holder)
    case busy(UInt64)
    case refused(QuotaRefusal)
  }

  private static func attempt(
    _ pool: Pool, _ facts: StoreFacts, in namespace: Namespace
  ) throws -> Outcome {
    do {
      switch try pool.reserve(facts, in: namespace) {
      case .present(let checksum): return .present(checksum.value)
      case .reserved(let reservation): return .reserved(Holder(reservation))
      }
    } catch PoolRefusal.busy(let retry) {
      return .busy(retry)
    } catch PoolRefusal.overQuota {
      return .refused(.overQuota)
    } catch PoolRefusal.tooLarge {
      return .refused(.tooLarge)
    }
  }

  private func facts(for shape: StoreShape) -> StoreFacts {
    var parent = shape.parent
    if shape.key.kind == .layout, random.isOne(in: 40) {
      parent = universe.hash(
        chain: random.number(below: Universe.chainCount),
        chunk: random.number(below: Universe.chunksPerChain))
    }
    return StoreFacts(
      key: shape.key, parent: parent, byteCount: shape.byteCount, firstToken: shape.firstToken,
      tokenCount: shape.tokenCount,
      ttlMilliseconds: random.isOne(in: 8) ? UInt64(1 + random.number(below: 2000)) : 0,
      recomputeMicroseconds: random.isOne(in: 3) ? UInt64(random.number(below: 40_000)) : 0)
  }

  /// Whether neither arena nor budget would have to make room.
  private func probeRoom(_ byteCount: Int, _ namespace: Namespace) -> Bool {
    let left = pool.budget.bytesMax - pool.budget.chargedBytes
    guard left >= pool.configuration.objectOverheadBytes else { return false }
    return arena.reserve(byteCount: byteCount, owner: namespace.owner) != nil
  }

  /// Lets the model drop what the pool dropped, in the model's order.
  private func follow(_ drops: Counts) throws {
    let number = drops.expired + drops.dead + drops.evicted
    guard number > 0 else { return }
    model.endLeases(now)
    var done = Counts()
    for _ in 0..<number {
      switch model.dropNext(now) {
      case .expired: done.expired += 1
      case .dead: done.dead += 1
      case .evicted: done.evicted += 1
      case nil: throw Difference(description: "the pool dropped what had to stay: \(drops)")
      }
    }
    try expect(done == drops, "the pool dropped \(drops), the model \(done)")
    try compareResidents()
  }

  func finishTransfer() throws {
    guard !transfers.isEmpty else { return }
    let transfer = transfers.remove(at: random.number(below: transfers.count))
    model.openBytes[transfer.name.namespace] -= transfer.shape.byteCount
    guard !random.isOne(in: 10) else { return }
    let (name, shape) = (transfer.name, transfer.shape)
    let checksum = random.isOne(in: 30) ? 1 : UInt64(shape.byteCount)
    let expected = expectedPublication(transfer, checksum)
    var found = Publication.published
    do {
      let namespace = namespaces[name.namespace]
      let facts = adjusted(transfer.facts)
      let answer = try transfer.holder.publish(
        facts, checksum: Checksum(checksum), to: pool, in: namespace)
      if case .present = answer { found = .present }
      if found == .published {
        let expiry =
          facts.ttlMilliseconds == 0 ? UInt64.max : now + facts.ttlMilliseconds * 1_000_000
        model.publish(
          shape, name, parent: facts.parent, cost: facts.recomputeMicroseconds,
          checksum: checksum, expiry: expiry)
      }
    } catch PoolRefusal.conflict {
      found = .conflict
    } catch PoolRefusal.notFound {
      found = .notFound
    }
    try expect(found == expected, "publish: \(found), the model says \(expected) of \(name)")
    try checkWaits(name, isPublished: found == .published)
  }

  /// The same facts with a TTL that ends when no other does, so that the order is exact.
  private func adjusted(_ facts: StoreFacts) -> StoreFacts {
    guard facts.ttlMilliseconds > 0 else { return facts }
    let taken = Set(model.objects.values.map(\.expiry))
    var ttl = facts.ttlMilliseconds
    while taken.contains(now + ttl * 1_000_000) { ttl += 1 }
    return StoreFacts(
      key: facts.key, parent: facts.parent, byteCount: facts.byteCount,
      firstToken: facts.firstToken, tokenCount: facts.tokenCount, ttlMilliseconds: ttl,
      recomputeMicroseconds: facts.recomputeMicroseconds)
  }

  private enum Publication {
    case published
    case present
    case conflict
    case notFound
  }

  private func expectedPublication(_ transfer: Transfer, _ checksum: UInt64) -> Publication {
    guard transfer.generation == model.generations[transfer.name.namespace] else {
      return .notFound
    }
    guard let known = model.live(transfer.name, now) else { return .published }
    return known.checksum == checksum ? .present : .conflict
  }

  /// What was dropped since the start, by kind.
  struct Counts: Equatable {
    var expired = 0
    var dead = 0
    var evicted = 0

    static func - (left: Counts, right: Counts) -> Counts {
      Counts(
        expired: left.expired - right.expired, dead: left.dead - right.dead,
        evicted: left.evicted - right.evicted)
    }
  }

  func counts() -> Counts {
    pool.residency.withLock {
      Counts(
        expired: Int($0.expired), dead: -$0.deadObjects, evicted: Int($0.evictions))
    }
  }
}
