import KDNCore
import KDNMemory

@testable import KDNPool

extension Driver {
  /// Without a slower tier the answer comes before the call returns.
  private func purgeNow(
    _ scope: PurgeScope, _ namespace: Namespace
  ) -> (objects: Int, bytes: Int) {
    let answer = Guarded<PurgeCount?>(nil)
    pool.purge(scope, in: namespace) { result in
      answer.withLock { $0 = try? result.get() }
    }
    return answer.withLock { $0 }.map { ($0.objects, $0.bytes) } ?? (-1, -1)
  }

  func purgeKeys() throws {
    let (name, _, namespace) = anyName()
    let expected = model.live(name, now)
    let found = purgeNow(.keys([name.key, name.key]), namespace)
    try expect(
      found == (expected == nil ? 0 : 1, expected?.byteCount ?? 0), "purge of a key: \(found)")
    if expected != nil { model.purge(name) }
  }

  func purgePrefixes() throws {
    let number = random.number(below: Self.namespaceCount)
    let hash = universe.hash(
      chain: random.number(below: Universe.chainCount),
      chunk: random.number(below: Universe.chunksPerChain))
    let names = model.descendants(of: [hash], in: number)
    try purge(names, .prefixes([hash]), number)
  }

  func purgeWhole() throws {
    let number = random.number(below: Self.namespaceCount)
    guard random.isOne(in: 2) else {
      let names = model.objects.values.filter {
        $0.name.namespace == number && $0.deathNumber == nil && $0.name.key.kind == .layout
      }.map(\.name)
      return try purge(names, .layouts([universe.layoutID]), number)
    }
    let expected = model.purgeAll(of: number)
    let found = purgeNow(.namespace, namespaces[number])
    try expect(found == expected, "purge of a namespace: \(found), the model \(expected)")
  }

  private func purge(
    _ names: [Model.Name], _ scope: PurgeScope, _ number: Int
  ) throws {
    let live = names.compactMap { model.live($0, now) }
    let expected = (live.count, live.reduce(0) { $0 + $1.byteCount })
    let found = purgeNow(scope, namespaces[number])
    try expect(found == expected, "purge: \(found), the model \(expected)")
    for name in names { model.purge(name) }
  }

  func sweep() throws {
    while pool.sweep(now: clock.now()) {}
    model.endLeases(now)
    while model.hasLost(now) { _ = model.dropNext(now) }
    while model.dropExcess(now) {}
    try compareResidents()
    try expect(pool.residency.withLock { $0.deadObjects } == 0, "dead objects after a sweep")
  }

  func buffers() throws {
    if bufferBytes > 0 {
      pool.refundBuffers(bufferBytes)
      bufferBytes = 0
      return
    }
    let bytes = random.number(below: 400_000)
    let hasRoom = pool.budget.chargedBytes + bytes <= pool.budget.bytesMax
    let isCharged = pool.chargeBuffers(bytes)
    try expect(isCharged == hasRoom, "buffers of \(bytes) charged: \(isCharged)")
    if isCharged { bufferBytes = bytes }
  }

  /// The same objects are in the index.
  func compareResidents() throws {
    let total = pool.residency.withLock { ($0.total.objects, $0.deadObjects) }
    let dead = model.objects.values.count { $0.deathNumber != nil }
    try expect(
      total == (model.objects.count - dead, dead),
      "\(total) objects and dead, the model has \(model.objects.count - dead) and \(dead)")
    for object in model.objects.values {
      let place = ChunkPlace(object.name.key.hash, in: UInt32(object.name.namespace))
      let found = pool.stripe(of: place).withLock {
        $0.table.find(object.name.key, at: place)?.checksum.value
      }
      try expect(found == object.checksum, "the pool lacks \(object.name)")
    }
  }

  /// Everything that can be seen is as the model says, and all memory is accounted for.
  func compareAll() throws {
    try compareResidents()
    let picture = pool.statistics
    try expect(picture.leases == model.leases.count, "leases: \(picture.leases)")
    try expect(picture.reservations == transfers.count, "open: \(picture.reservations)")
    try expect(picture.waiters == waits.count, "waiters: \(picture.waiters)")
    for (number, share) in picture.namespaces.enumerated() {
      let own = model.objects.values.filter {
        $0.name.namespace == number && $0.deathNumber == nil
      }
      try expect(share.objects == own.count, "objects of \(share.name): \(share.objects)")
      try expect(
        share.bytes == own.reduce(0) { $0 + $1.byteCount }, "bytes of \(share.name)")
      for key in allKeys {
        let expected = model.live(Model.Name(namespace: number, key: key), now) != nil
        try expect(
          pool.contains(key, in: namespaces[number]) == expected, "contains \(number) \(key)")
      }
    }
    try compareMemory(picture)
    try compareQuotas(picture)
  }

  private func compareMemory(_ picture: PoolStatistics) throws {
    var alive = Dictionary(uniqueKeysWithValues: model.objects.values.map { ($0.id, $0.byteCount) })
    for id in model.leases.values.flatMap(\.objects) + model.readers.keys {
      alive[id] = bytesByObject[id]
    }
    let objects = alive.count + transfers.count
    let leases = model.leases.values.reduce(0) {
      $0 + LeaseRecord.byteCount(objects: $1.objects.count)
    }
    let fixed = picture.arena.capacityBytes + pool.configuration.fixedBytes
    let charged = fixed + objects * pool.configuration.objectOverheadBytes + leases + bufferBytes
    try expect(picture.chargedBytes == charged, "charged \(picture.chargedBytes), not \(charged)")
    try expect(charged <= picture.memoryBytesMax, "over the cap")
    try expect(picture.arena.extents == objects, "\(picture.arena.extents) extents, not \(objects)")
    let bytes = alive.values.reduce(0, +) + transfers.reduce(0) { $0 + $1.shape.byteCount }
    try expect(picture.arena.allocatedBytes >= bytes, "less memory than objects")
    try expect(picture.arena.allocatedBytes <= picture.arena.capacityBytes, "over the arena")
  }

  /// Ends everything open; then nothing may be left charged.
  func finish() throws {
    transfers = []
    readers = []
    for number in 0..<4 { pool.ownerEnded(OwnerID(number: UInt64(number))) }
    pool.refundBuffers(bufferBytes)
    for namespace in namespaces { _ = purgeNow(.namespace, namespace) }
    while pool.sweep(now: clock.now()) {}
    let picture = pool.statistics
    try expect(picture.arena.allocatedBytes == 0, "arena not empty at the end")
    try expect(picture.arena.extents == 0, "extents at the end")
    let fixed = picture.arena.capacityBytes + pool.configuration.fixedBytes
    try expect(picture.chargedBytes == fixed, "memory charged at the end")
  }
}

extension Model {
  /// Whether anything is dead or overdue.
  func hasLost(_ now: UInt64) -> Bool {
    objects.values.contains { !isLive($0, now) }
  }
}
