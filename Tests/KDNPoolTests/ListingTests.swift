import KDNCore
import KDNTier
import Testing

@testable import KDNPool

struct ListingTests {
  /// All pages of a listing; `between` is done after each.
  private func list(
    _ pool: Pool, _ namespace: Namespace, limit: Int, between: (Int) throws -> Void = { _ in }
  ) throws -> [ObjectListing.Item] {
    var items: [ObjectListing.Item] = []
    var cursor: String?
    for page in 0..<1000 {
      let found = try pool.objects(in: namespace, after: cursor, limit: limit)
      #expect(found.objects.count <= limit)
      items += found.objects
      cursor = found.next
      guard cursor != nil else { return items }
      try between(page)
    }
    Issue.record("a listing without an end")
    return items
  }

  @Test func anEmptyNamespaceHasOneEmptyPage() throws {
    let fixture = try Fixture()
    let other = try fixture.addTenant("other")
    try fixture.store(fixture.facts(1), in: other)
    #expect(try fixture.pool.objects(in: fixture.tenant, after: nil, limit: 5).objects.isEmpty)
  }

  @Test(arguments: [1, 2, 3, 7, 100]) func everyObjectOfTheTenantIsListedOnce(limit: Int) throws {
    let fixture = try Fixture(kibibytes: 1024)
    let other = try fixture.addTenant("other")
    for number in 0..<30 {
      try fixture.store(fixture.facts(number, tokens: 4), in: number % 3 == 0 ? other : nil)
    }
    let items = try list(fixture.pool, fixture.tenant, limit: limit)
    #expect(items.count == 20)
    let expected = (0..<30).filter { $0 % 3 != 0 }.map { fixture.key($0) }
    #expect(Set(items.map(\.key)) == Set(expected))
    #expect(try list(fixture.pool, other, limit: limit).count == 10)
  }

  @Test func anItemHasTheFactsOfItsObject() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(3, tokens: 5, variant: 2, ttl: 900))
    #expect(fixture.missCause(3, variant: 2) == nil)
    _ = try fixture.pool.pin(
      [fixture.key(3, variant: 2)], ttlMilliseconds: 9, in: fixture.tenant)
    fixture.clock.advance(milliseconds: 100)
    let items = try list(fixture.pool, fixture.tenant, limit: 10)
    #expect(
      items == [
        ObjectListing.Item(
          key: fixture.key(3, variant: 2), byteCount: 5 << 10, tokenCount: 5, firstToken: 192,
          uses: 2, isInRAM: true, isOnDisk: false, isPinned: true, ttlMilliseconds: 800)
      ])
  }

  @Test func theDeadAndTheExpiredAreNotListed() throws {
    let fixture = try Fixture()
    for number in 1...2 { try fixture.store(fixture.facts(number)) }
    fixture.purge(.namespace)
    try fixture.store(fixture.facts(3, ttl: 5))
    try fixture.store(fixture.facts(4))
    fixture.clock.advance(milliseconds: 5)
    let items = try list(fixture.pool, fixture.tenant, limit: 10)
    #expect(items.map(\.key) == [fixture.key(4)])
    let keys = fixture.pool.keys(of: (1...4).map(fixture.hash), in: fixture.tenant)
    #expect(keys == [fixture.key(4)])
  }

  @Test func anObjectInBothTiersIsListedOnceWithBoth() throws {
    let tiers = try TwoTiers(kibibytes: 512)
    tiers.tier.set { $0.writes = .atOnce }
    for number in 1...3 { try tiers.store(number) }
    for number in 11...14 { tiers.putBelow(number) }
    tiers.tier.set { $0.writes = .byHand }
    try tiers.store(5)
    _ = tiers.tier.pin([tiers.key(2)], in: tiers.fixture.tenant.name, milliseconds: 5)
    for limit in [1, 2, 3, 50] {
      let items = try list(tiers.pool, tiers.fixture.tenant, limit: limit)
      #expect(items.count == 8)
      let places = Dictionary(uniqueKeysWithValues: items.map { ($0.key, $0) })
      for number in [1, 2, 3] {
        #expect(places[tiers.key(number)]?.isInRAM == true)
        #expect(places[tiers.key(number)]?.isOnDisk == true)
      }
      #expect(places[tiers.key(5)]?.isInRAM == true && places[tiers.key(5)]?.isOnDisk == false)
      #expect(places[tiers.key(11)]?.isInRAM == false && places[tiers.key(11)]?.isOnDisk == true)
      #expect(places[tiers.key(2)]?.isPinned == true && places[tiers.key(3)]?.isPinned == false)
    }
    let hashes = [1, 5, 11, 99].map(tiers.fixture.hash)
    let keys = tiers.pool.keys(of: hashes, in: tiers.fixture.tenant)
    #expect(Set(keys) == Set([1, 5, 11].map(tiers.key)))
    #expect(keys.count == 3)
  }

  @Test(arguments: 1...20) func whatStaysIsNeverMissingAndOnlyWhatMovesIsDoubled(
    seed: UInt64
  ) throws {
    let tiers = try TwoTiers(kibibytes: 1024)
    let (tenant, pool) = (tiers.fixture.tenant, tiers.pool)
    tiers.tier.set {
      $0.writes = .atOnce
      $0.reads = .atOnce
    }
    var state = seed
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    // Numbers below 20 stay in the tier, those from 100 on stay in RAM, others come and go.
    for number in 0..<20 { tiers.putBelow(number, tokens: 1) }
    tiers.tier.set { $0.writes = .byHand }
    for number in 100..<120 { try tiers.store(number, tokens: 1) }
    var moved: Set<ObjectKey> = []
    let stays = Set((Array(0..<20) + Array(100..<120)).map(tiers.key))
    let items = try list(pool, tenant, limit: 1 + random(4)) { _ in
      for _ in 0..<3 {
        let (low, other) = (random(20), 200 + random(20))
        let choice = random(4)
        if choice < 2 { moved.insert(tiers.key(low)) }
        switch choice {
        case 0: _ = pool.prefetch([tiers.key(low)], in: tenant)
        case 1:
          // From RAM only: to the tier it looks as if room had been made.
          guard let object = pool.live(tiers.key(low), in: tenant, now: tiers.fixture.clock.now())
          else { break }
          pool.residency.withLock { pool.drop(object, from: &$0, .evicted) }
        case 2: try tiers.store(other, tokens: 1)
        default: _ = tiers.purge(.keys([tiers.key(other)]))
        }
      }
    }
    let counts = Dictionary(grouping: items, by: \.key).mapValues(\.count)
    #expect(stays.allSatisfy { counts[$0] != nil })
    #expect(stays.subtracting(moved).allSatisfy { counts[$0] == 1 })
    #expect(moved.count < 20 || moved.contains { counts[$0] == 1 })
  }

  @Test func aPageLooksAtManySlotsOfOthersInShortPieces() throws {
    let fixture = try Fixture(kibibytes: 16 << 10)
    let other = try fixture.addTenant("other")
    for number in 0..<Pool.slotsPerLock + 50 {
      try fixture.store(fixture.facts(number, tokens: 1), in: other)
    }
    try fixture.store(fixture.facts(1, tokens: 1))
    let page = try fixture.pool.objects(in: fixture.tenant, after: nil, limit: 10)
    #expect(page.objects.map(\.key) == [fixture.key(1)] && page.next == nil)
  }

  @Test(arguments: [
    "", "x", "r.0.0.0", "r", "r.zz.0.0", "d.0", "....", "q.0.0.0", "r.0.0.-1",
    "r.ffffffffffffffff.0.0",
  ])
  func aCursorOfAnotherKindIsAFault(text: String) throws {
    let fixture = try Fixture()
    #expect(throws: FieldFault.self) {
      try fixture.pool.objects(in: fixture.tenant, after: text, limit: 1)
    }
  }

  @Test func cursorsOfAnyPlaceAreHarmless() throws {
    let tiers = try TwoTiers()
    let pool = tiers.pool
    tiers.putBelow(1)
    for place in [
      ObjectCursor.Place.ram(slot: .max), .ram(slot: 1 << 40), .below(after: .max),
      .below(after: 0), .below(after: nil),
    ] {
      let cursor = ObjectCursor(run: pool.runNumber, arrivals: .max, place: place)
      #expect(try ObjectCursor(cursor.text, run: pool.runNumber) == cursor)
      let page = try pool.objects(in: tiers.fixture.tenant, after: cursor.text, limit: 4)
      #expect(page.next == nil)
    }
    let foreign = ObjectCursor(run: pool.runNumber ^ 1, arrivals: 0, place: .ram(slot: 0))
    #expect(throws: FieldFault.self) {
      try pool.objects(in: tiers.fixture.tenant, after: foreign.text, limit: 4)
    }
    #expect(throws: FieldFault.self) {
      try pool.objects(in: tiers.fixture.tenant, after: nil, limit: 0)
    }
  }
}
