import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct StructureTests {
  @Test(arguments: [1, 2, 3]) func theHeapGivesTheLeastKeyAfterAnyChanges(seed: UInt64) {
    var state = seed
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    var heap = IndexedHeap<Int>()
    var model: [Int32: Int] = [:]
    for _ in 0..<5000 {
      let slot = Int32(random(100))
      if random(3) == 0 {
        heap.remove(slot)
        model[slot] = nil
      } else {
        // Distinct keys, so that the first is one slot only.
        let key = random(1000) * 100 + Int(slot)
        heap.set(slot, key)
        model[slot] = key
      }
      let least = model.min { $0.value < $1.value }
      #expect(heap.count == model.count)
      #expect(heap.first?.slot == least?.key && heap.first?.key == least?.value)
      #expect(heap.key(of: slot) == model[slot])
    }
  }

  @Test(arguments: [1, 2, 3]) func theHeapOfTenantsGivesTheLeastKeysOfEachAndOfAll(
    seed: UInt64
  ) {
    var state = seed
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    var heap = TenantHeap<Double> { key, offset in key - offset }
    var model: [Int32: (tenant: UInt32, key: Double)] = [:]
    var offsets = [Double](repeating: 0, count: 4)
    for _ in 0..<4000 {
      let slot = Int32(random(80))
      switch random(8) {
      case 0..<3:
        if let known = model.removeValue(forKey: slot) { heap.remove(slot, of: known.tenant) }
      case 3:
        let tenant = random(4)
        offsets[tenant] = Double(random(500) * 1000)
        heap.setOffset(of: UInt32(tenant), offsets[tenant])
      default:
        // Keys that stay distinct whatever the offsets, so that the first is one slot only.
        let tenant = model[slot]?.tenant ?? UInt32(random(4))
        let key = Double(random(1000) * 1000 + Int(slot))
        heap.set(slot, of: tenant, key)
        model[slot] = (tenant, key)
      }
      #expect(heap.count == model.count)
      let least = model.min {
        $0.value.key - offsets[Int($0.value.tenant)] < $1.value.key - offsets[Int($1.value.tenant)]
      }
      #expect(heap.first?.slot == least?.key && heap.first?.tenant == least?.value.tenant)
      #expect(heap.first?.key == least?.value.key)
      for tenant: UInt32 in 0..<4 {
        let own = model.filter { $0.value.tenant == tenant }.min { $0.value.key < $1.value.key }
        #expect(heap.first(of: tenant)?.slot == own?.key)
      }
      #expect(heap.contains(slot) == (model[slot] != nil))
    }
  }

  @Test func ghostsAreRememberedUntilYoungerOnesPushThemOut() {
    var ghosts = GhostTable(entries: 8)
    #expect(GhostTable.byteCount(entries: 8) == 64)
    for number: UInt64 in 1...8 { ghosts.note(number << 32, .evicted) }
    ghosts.note(1 << 32, .purged)
    #expect(ghosts.cause(of: 1 << 32) == .purged)
    ghosts.note(9 << 32, .expired)
    #expect(ghosts.cause(of: 9 << 32) == .expired)
    #expect(ghosts.cause(of: 2 << 32) == nil)
    #expect(ghosts.cause(of: 1 << 32) == .purged)
    #expect(ghosts.cause(of: 3 << 32) == .evicted)
    #expect(ghosts.cause(of: 0) == nil)
  }

  @Test func theDefaultGhostsTakeTheBytesTheySay() {
    #expect(GhostTable.byteCount(entries: 1 << 18) == 8 << 18)
    #expect(GhostTable.byteCount(entries: 0) == 64)
  }

  @Test func theTableFindsExactlyWhatWasPutInAndNotTakenOut() throws {
    let fixture = try Fixture(kibibytes: 2048)
    let objects = try (0..<1500).map { number -> StoredObject in
      let facts = fixture.facts(number / 3, tokens: 1, variant: UInt32(number % 3))
      guard case .published(let object) = try fixture.store(facts) else {
        throw PoolRefusal.notFound(what: "object", number: 0)
      }
      return object
    }
    func place(_ object: StoredObject) -> ChunkPlace { ChunkPlace(object.key.hash, in: 0) }
    var table = ObjectTable()
    for object in objects { table.insert(object, at: place(object)) }
    for (number, object) in objects.enumerated() where number % 2 == 0 {
      table.remove(object, at: place(object))
    }
    #expect(table.count == 750)
    for (number, object) in objects.enumerated() {
      let found = table.find(object.key, at: place(object))
      #expect(found === (number % 2 == 0 ? nil : object))
      let siblings = table.all(at: place(object)).count
      #expect(siblings == (number / 3 * 3..<number / 3 * 3 + 3).count { $0 % 2 == 1 })
    }
    #expect(table.find(objects[1].key, at: ChunkPlace(objects[1].key.hash, in: 1)) == nil)
  }

  @Test func deeperChunksAreDearerAndOrphansWorthNothing() {
    func rank(firstToken: Int, uses: UInt64 = 1, isOrphan: Bool = false) -> EvictionRank {
      ChainAwarePolicy().rank(
        EvictionFacts(
          byteCount: 1 << 20, tokenCount: 256, firstToken: firstToken,
          recomputeMicroseconds: 0, uses: uses, lastUse: 1, ageAtLastUse: 2.5,
          isOrphan: isOrphan))
    }
    #expect(rank(firstToken: 0) < rank(firstToken: 4096))
    #expect(rank(firstToken: 0) < rank(firstToken: 0, uses: 2))
    #expect(rank(firstToken: 4096, uses: 9, isOrphan: true).value == 2.5)
  }

  @Test func thePolicyAgesWithTheWorthOfWhatWent() {
    var policy = ChainAwarePolicy()
    policy.evicted(EvictionRank(value: 3, order: 1))
    policy.evicted(EvictionRank(value: 2, order: 2))
    #expect(policy.age == 3)
    #expect(EvictionRank(value: 1, order: 9) < EvictionRank(value: 1, order: 10))
  }
}
