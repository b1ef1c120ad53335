import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct LookupTests {
  @Test func missesTellTheirCause() throws {
    let fixture = try Fixture()
    #expect(fixture.missCause(1) == .neverStored)
    try fixture.store(fixture.facts(1, ttl: 50))
    #expect(fixture.missCause(1) == nil)
    #expect(fixture.missCause(1, variant: 3) == .wrongLayout)
    fixture.clock.advance(milliseconds: 49)
    #expect(fixture.has(1))
    fixture.clock.advance(milliseconds: 1)
    #expect(!fixture.has(1))
    #expect(fixture.missCause(1) == .expired)
    #expect(!fixture.pool.sweep(now: fixture.clock.now()))
    #expect(fixture.missCause(1) == .expired)
    #expect(fixture.missCause(1, variant: 3) == .neverStored)
    try fixture.store(fixture.facts(2))
    fixture.purge(.keys([fixture.key(2)]))
    #expect(fixture.missCause(2) == .purged)
    for number in 10..<19 { try fixture.store(fixture.facts(number)) }
    #expect(fixture.missCause(10) == .evicted)
    let misses = fixture.pool.statistics.misses
    #expect(misses[.neverStored] == 2 && misses[.expired] == 2 && misses[.wrongLayout] == 1)
    #expect(misses[.purged] == 1 && misses[.evicted] == 1)
    #expect(fixture.pool.statistics.hits == 1)
  }

  @Test func namespacesDoNotSeeEachOther() throws {
    let fixture = try Fixture()
    let other = try fixture.pool.namespace(NamespaceName("other"))
    try fixture.store(fixture.facts(1))
    #expect(!fixture.pool.contains(fixture.key(1), in: other))
    guard case .miss(let cause) = fixture.pool.lookup(fixture.key(1), in: other) else {
      Issue.record("hit in another namespace")
      return
    }
    #expect(cause == .neverStored)
  }

  @Test func bytesStayReadableUntilTheReadLeaseEndsWhateverHappens() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    do {
      guard case .hit(let lease) = fixture.pool.lookup(fixture.key(1), in: fixture.tenant) else {
        Issue.record("missed")
        return
      }
      fixture.purge(.namespace)
      while fixture.pool.sweep(now: fixture.clock.now()) {}
      #expect(!fixture.has(1))
      #expect(fixture.arena.statistics.extents == 1)
      #expect(lease.lease.byteCount == 32 << 10)
    }
    #expect(fixture.arena.statistics.extents == 0)
  }

  @Test func matchGivesTheLongestPrefixAndTheCauseOfTheFirstMiss() throws {
    let fixture = try Fixture()
    try fixture.storeChain([1, 2, 3])
    #expect(
      try fixture.match([1, 2, 3, 4])
        == MatchAnswer(
          matchedChunks: 3, ramChunks: 3, missCause: .neverStored, matchedBytes: 96 << 10))
    #expect(
      try fixture.match([1, 2, 3])
        == MatchAnswer(matchedChunks: 3, ramChunks: 3, matchedBytes: 96 << 10))
    #expect(try fixture.match([9, 1]).matchedChunks == 0)
    #expect(try fixture.match([9, 1]).matchedBytes == 0)
  }

  @Test func aChunkMatchesOnlyInAllItsParts() throws {
    let fixture = try Fixture()
    let layout = try Layout(
      elementType: .i8,
      groups: [LayoutGroup(kind: .opaque(bytesPerToken: 1024), layers: [0, 1])])
    let id = try fixture.pool.register(layout, in: fixture.tenant)
    let parts = [0, 1].map {
      Part(firstLayer: $0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    }
    func store(_ number: Int, _ part: Part) throws {
      try fixture.store(
        StoreFacts(
          key: ObjectKey(hash: fixture.hash(number), layout: id, part: part), byteCount: 4096,
          tokenCount: 4))
    }
    try store(1, parts[0])
    try store(1, parts[1])
    try store(2, parts[0])
    let query = MatchQuery(
      layout: id, parts: parts, hashes: [1, 2].map(fixture.hash), leaseMilliseconds: 0)
    let answer = try fixture.pool.match(
      query, in: fixture.tenant, owner: OwnerID(number: 1))
    #expect(answer.matchedChunks == 1)
    #expect(answer.matchedBytes == 8192)
    #expect(answer.missCause == .wrongLayout)
    #expect(answer.leaseMilliseconds == 10_000)
  }

  @Test func aMatchWithoutHashesOrPartsIsAFault() throws {
    let fixture = try Fixture()
    guard case .fault(let fault) = fixture.refusal({ _ = try fixture.match([]) }) else {
      Issue.record("no fault")
      return
    }
    #expect(fault.field == "hashCount")
    let query = MatchQuery(layout: fixture.layout.id, parts: [], hashes: [fixture.hash(1)])
    guard
      case .fault(let partFault) = fixture.refusal({
        _ = try fixture.pool.match(query, in: fixture.tenant, owner: OwnerID(number: 1))
      })
    else {
      Issue.record("no fault")
      return
    }
    #expect(partFault.field == "partCount")
  }

  @Test func aLeaseIsCutToTheLimitAndEndsOnce() throws {
    let fixture = try Fixture { $0.leasesPerOwnerMax = 2 }
    try fixture.store(fixture.facts(1))
    let first = try fixture.match([1], lease: 1 << 60)
    #expect(first.leaseMilliseconds == 60_000)
    let second = try fixture.match([1], lease: 5)
    guard case .limit = fixture.refusal({ _ = try fixture.match([1], lease: 5) }) else {
      Issue.record("a third lease")
      return
    }
    #expect(second.leaseNumber > first.leaseNumber)
    let others = try fixture.match([1], lease: 5, owner: 2)
    let owner = OwnerID(number: 1)
    #expect(!fixture.pool.release(lease: second.leaseNumber, owner: OwnerID(number: 2)))
    #expect(others.leaseNumber == 1)
    #expect(fixture.pool.release(lease: first.leaseNumber, owner: owner))
    #expect(!fixture.pool.release(lease: first.leaseNumber, owner: owner))
    fixture.pool.ownerEnded(owner)
    #expect(fixture.pool.statistics.leases == 1)
    fixture.clock.advance(milliseconds: 5)
    _ = fixture.pool.sweep(now: fixture.clock.now())
    #expect(fixture.pool.statistics.leases == 0)
  }
}
