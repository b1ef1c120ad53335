import KDNCore
import KDNMemory
import Synchronization

@testable import KDNPool

extension Driver {
  func lookup() throws {
    let (name, _, namespace) = anyName()
    let expected = model.live(name, now)
    switch pool.lookup(name.key, in: namespace) {
    case .miss(let cause):
      try expect(expected == nil, "a miss of what the model has: \(name)")
      let expectedCause = model.missCause(name, now)
      try expect(cause == expectedCause, "missed for \(cause), the model says \(expectedCause)")
    case .hit(let lease):
      guard let expected else { throw Difference(description: "a hit the model lacks: \(name)") }
      try expect(lease.object.checksum.value == expected.checksum, "other bytes")
      try expect(lease.lease.byteCount == expected.byteCount, "other length")
      model.use(name)
      guard readers.count < 12, random.isOne(in: 4) else { return }
      model.readers[expected.id, default: 0] += 1
      bytesByObject[expected.id] = expected.byteCount
      readers.append(Reader(lease, id: expected.id))
    }
  }

  func endReader() throws {
    guard !readers.isEmpty else { return }
    let id = readers.remove(at: random.number(below: readers.count)).id
    model.readers[id, default: 0] -= 1
    if model.readers[id] == 0 { model.readers[id] = nil }
  }

  func contains() throws {
    let (name, _, namespace) = anyName()
    let expected = model.live(name, now) != nil
    try expect(pool.contains(name.key, in: namespace) == expected, "contains differs: \(name)")
    let found = pool.prefetch([name.key], in: namespace)
    try expect(found.present == (expected ? 1 : 0) && found.started == 0, "prefetch differs")
  }

  func match() throws {
    let number = random.number(below: Self.namespaceCount)
    let chain = random.number(below: Universe.chainCount)
    let length = 1 + random.number(below: Universe.chunksPerChain)
    let hashes = (0..<length).map { universe.hash(chain: chain, chunk: $0) }
    let parts = random.isOne(in: 3) ? universe.parts : [universe.parts[random.number(below: 2)]]
    let wish: UInt64? = random.isOne(in: 2) ? UInt64(random.number(below: 1500)) : nil
    let owner = UInt64(random.number(below: 4))
    let expected = expectedMatch(number, hashes, parts)
    let query = MatchQuery(
      layout: universe.layoutID, parts: parts, hashes: hashes, leaseMilliseconds: wish)
    let isLeasing = wish != nil && !expected.objects.isEmpty
    let cost = LeaseRecord.byteCount(objects: expected.objects.count)
    let isOver = pool.budget.chargedBytes + cost > pool.budget.bytesMax
    let held = model.leases.keys.count { $0.owner == owner }
    let refusal = { (error: PoolRefusal) in
      switch error {
      case .limit: isLeasing && held == 6
      case .busy: isLeasing && isOver
      default: false
      }
    }
    let result = Result { () throws(PoolRefusal) in
      try pool.match(query, in: namespaces[number], owner: OwnerID(number: owner))
    }
    guard case .success(let answer) = result else {
      if case .failure(let error) = result {
        try expect(refusal(error), "refused: \(error), held \(held)")
      }
      return
    }
    try expect(!isLeasing || (held < 6 && !isOver), "a lease over the limit")
    try expect(answer.matchedChunks == expected.chunks, "matched \(answer), model \(expected)")
    try expect(answer.missCause == expected.cause, "matched \(answer), model \(expected)")
    let bytes = expected.objects.reduce(0) { $0 + $1.byteCount }
    try expect(answer.matchedBytes == bytes, "matched \(answer), model \(expected)")
    try expect((answer.leaseNumber != 0) == isLeasing, "lease granted: \(answer)")
    guard let wish, isLeasing else { return }
    let length2 = wish == 0 ? 10_000 : wish
    try expect(answer.leaseMilliseconds == length2, "lease of \(answer.leaseMilliseconds)")
    for object in expected.objects { bytesByObject[object.id] = object.byteCount }
    model.leases[Model.LeaseName(owner: owner, number: answer.leaseNumber)] = Model.Lease(
      deadline: now + length2 * 1_000_000, objects: expected.objects.map(\.id))
  }

  private func expectedMatch(
    _ number: Int, _ hashes: [ChunkHash], _ parts: [Part]
  ) -> (chunks: Int, cause: MissCause?, objects: [Model.Object]) {
    var objects: [Model.Object] = []
    for (chunk, hash) in hashes.enumerated() {
      var found: [Model.Object] = []
      for part in parts {
        let name = Model.Name(
          namespace: number, key: ObjectKey(hash: hash, layout: universe.layoutID, part: part))
        guard let object = model.live(name, now) else {
          return (chunk, model.missCause(name, now), objects)
        }
        found.append(object)
      }
      objects += found
    }
    return (hashes.count, nil, objects)
  }

  func release() throws {
    guard let name = model.leases.keys.sorted().randomElement(using: &random) else { return }
    let number = name.number
    let other = OwnerID(number: name.owner + 100)
    try expect(!pool.release(lease: number, owner: other), "released another's lease")
    let owner = OwnerID(number: name.owner)
    try expect(pool.release(lease: number, owner: owner), "lease \(number) is gone")
    try expect(!pool.release(lease: number, owner: owner), "released a lease twice")
    model.leases[name] = nil
  }

  func ownerEnds() throws {
    let owner = UInt64(random.number(below: 4))
    pool.ownerEnded(OwnerID(number: owner))
    model.leases = model.leases.filter { $0.key.owner != owner }
  }

  func touch() throws {
    let (name, _, namespace) = anyName()
    let expected = model.live(name, now) == nil ? 0 : 1
    try expect(pool.touch([name.key], in: namespace) == expected, "touch differs: \(name)")
    if expected == 1 { model.use(name) }
  }

  func pin() throws {
    let name = anyName().name
    let milliseconds = UInt64(1 + random.number(below: 800))
    try pin([name.key], milliseconds: milliseconds, name.namespace)
  }

  /// Pins all of a tenant, so that little or nothing can go for a while.
  func pinMany() throws {
    let milliseconds = UInt64(1 + random.number(below: 300))
    for number in 0..<Self.namespaceCount where number == 0 || random.isOne(in: 2) {
      try pin(allKeys, milliseconds: milliseconds, number)
    }
  }

  func unpin() throws {
    let pinned = model.objects.values.filter { $0.pinnedUntil > 0 }
    let known = pinned.sorted { $0.id < $1.id }.randomElement(using: &random)?.name
    let name = known ?? anyName().name
    let expected = model.live(name, now).map { $0.pinnedUntil > now } ?? false
    let found = pool.unpin([name.key], in: namespaces[name.namespace])
    try expect(found == [expected], "unpin differs: \(name)")
    if model.live(name, now) != nil { model.unpin(name) }
  }

  func wait() throws {
    guard waits.count < 20 else { return try cancel() }
    let (name, _, namespace) = anyName()
    let wait = Wait(name)
    let ticket = try pool.wait(for: name.key, in: namespace) {
      wait.told.add(1, ordering: .relaxed)
    }
    let isPresent = model.live(name, now) != nil
    try expect((ticket == nil) == isPresent, "waits for what is present, or not: \(name)")
    if let ticket { waits.append((ticket, wait)) }
  }

  func cancel() throws {
    guard !waits.isEmpty else { return }
    let (ticket, wait) = waits.remove(at: random.number(below: waits.count))
    try expect(pool.cancel(ticket), "a wait not told could not be cancelled")
    try expect(!pool.cancel(ticket), "a wait was cancelled twice")
    try expect(wait.told.load(ordering: .relaxed) == 0, "a cancelled wait was told")
  }

  /// Each wait for a published name was told once, all others not at all.
  func checkWaits(_ name: Model.Name, isPublished: Bool) throws {
    for (_, wait) in waits {
      let expected = isPublished && wait.name == name ? 1 : 0
      let told = wait.told.load(ordering: .relaxed)
      try expect(told == expected, "told \(told) times, not \(expected): \(wait.name)")
    }
    if isPublished { waits.removeAll { $0.wait.name == name } }
  }
}
