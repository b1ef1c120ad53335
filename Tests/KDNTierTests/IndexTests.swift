import KDNCore
import Testing

@testable import KDNTier

@Suite("The disk index")
struct IndexTests {
  private let tenants: [NamespaceName]

  init() throws { tenants = try ["a", "b", "c"].map { try NamespaceName($0) } }

  private func key(_ tenant: Int, _ number: Int) throws -> DiskKey {
    DiskKey(
      namespace: UInt32(tenant),
      key: ObjectKey(opaque: try ChunkHash([UInt8](repeating: UInt8(number), count: 32))))
  }

  private func entry(
    _ key: DiskKey, _ byteCount: Int, sequence: UInt64, ttl: UInt64 = 0, isPinned: Bool = false
  ) -> IndexEntry {
    IndexEntry(
      ObjectFacts(
        namespace: tenants[Int(key.namespace)], generation: 0, key: key.key,
        byteCount: byteCount, checksum: Checksum(1), storedAtMilliseconds: 100,
        ttlMilliseconds: ttl),
      place: RecordPlace(directory: 0, slot: 0, block: 0), sequence: sequence, stage: .writing,
      isPinned: isPinned)
  }

  @Test("counts for each tenant what a full count finds, whatever was done", arguments: 1...6)
  func countsTenants(seed: Int) throws {
    var random = SplitMix(state: UInt64(seed))
    var index = DiskIndex()
    for step in 1...6000 {
      let tenant = Int.random(in: 0..<3, using: &random)
      let key = try key(tenant, Int.random(in: 0..<60, using: &random))
      switch Int.random(in: 0..<8, using: &random) {
      case 0..<4:
        // Two directories that were filled apart have the same sequences.
        let sequence = UInt64(Int.random(in: 1...(step / 2 + 1), using: &random))
        index.insert(
          key,
          entry(
            key, Int.random(in: 1..<9000, using: &random), sequence: sequence,
            ttl: UInt64(Int.random(in: 0..<3000, using: &random) / 2 * (step % 2)),
            isPinned: Int.random(in: 0..<9, using: &random) == 0))
      case 4: _ = index.remove(key)
      case 5: index.setPinned(key, Bool.random(using: &random))
      case 6: index.setHeld(key, Bool.random(using: &random))
      default: index.expire(by: 100 + UInt64(step / 4), most: 5)
      }
      guard step % 53 == 0 else { continue }
      for number in UInt32(0)..<3 {
        #expect(index.usage(of: number) == index.usageCounted(of: number))
        #expect(index.share(of: number).places.count == index.usage(of: number).objects)
        let bound = index.all.filter {
          $0.key.namespace == number && $0.value.isBound && !$0.value.hasEnded
        }
        #expect(index.boundBytes(of: number) == bound.values.reduce(0) { $0 + $1.byteCount })
      }
      #expect(index.bytes == index.all.values.reduce(0) { $0 + $1.byteCount })
      let pinned = index.all.values.filter(\.isPinned)
      #expect(index.pinnedBytes == pinned.reduce(0) { $0 + $1.byteCount })
    }
  }

  @Test("one write looks at a bounded number of pinned objects, and the next one goes on there")
  func looksOnlyOnce() throws {
    var log = LogState(DiskConfiguration())
    let number = log.tenants.number(of: tenants[0])
    for count in 1...40_000 {
      let bytes =
        withUnsafeBytes(of: UInt64(count)) { Array($0) } + [UInt8](repeating: 1, count: 24)
      let key = DiskKey(namespace: number, key: ObjectKey(opaque: try ChunkHash(bytes)))
      let isPinned = count <= 39_990
      log.index.insert(
        key, entry(key, 10, sequence: UInt64(count), isPinned: isPinned))
    }
    log.limits[number] = TenantLimits(diskBytesMax: 400_000)
    #expect(log.makeRoom(for: 101, in: number, wall: 0) == .overQuota(limit: 400_000))
    #expect(log.index.usage(of: number).objects == 40_000)
    #expect(log.makeRoom(for: 20, in: number, wall: 0) == .overQuota(limit: 400_000))
    #expect(log.index.share(of: number).boundThrough == 32_768)
    #expect(log.makeRoom(for: 20, in: number, wall: 0) == nil)
    #expect(log.index.usage(of: number) == log.index.usageCounted(of: number))
    #expect(log.index.usage(of: number).objects == 39_998)
    // The first ones can go again: they are the oldest.
    let first = try #require(log.index.all.first { $0.value.sequence == 7 }?.key)
    log.index.setPinned(first, false)
    #expect(log.index.share(of: number).boundThrough == 6)
    #expect(log.makeRoom(for: 30, in: number, wall: 0) == nil)
    #expect(log.index[first] == nil)
  }

  @Test("a quota lowered far is reached in pieces, oldest first, and by nobody else's objects")
  func shrinksInPieces() throws {
    var log = LogState(DiskConfiguration())
    let numbers = tenants[0...1].map { log.tenants.number(of: $0) }
    for count in 1...9_000 {
      let bytes =
        withUnsafeBytes(of: UInt64(count)) { Array($0) } + [UInt8](repeating: 1, count: 24)
      for number in numbers {
        let key = DiskKey(namespace: number, key: ObjectKey(opaque: try ChunkHash(bytes)))
        log.index.insert(
          key, entry(key, 10, sequence: UInt64(2 * count) + UInt64(number)))
      }
    }
    log.setLimits(TenantLimits(diskBytesMax: 400), of: tenants[0])
    #expect(log.index.usage(of: numbers[0]).objects == 9_000, "before all is known none goes")
    log.isReady = true
    log.setLimits(TenantLimits(diskBytesMax: 55), of: tenants[0])
    var steps = [log.index.usage(of: numbers[0]).objects]
    while log.shrink() { steps.append(log.index.usage(of: numbers[0]).objects) }
    steps.append(log.index.usage(of: numbers[0]).objects)
    #expect(steps == [9_000 - 4096, 9_000 - 2 * 4096, 5])
    let left = log.index.all.filter { $0.key.namespace == numbers[0] }.values.map(\.sequence)
    #expect(left.sorted() == [17_992, 17_994, 17_996, 17_998, 18_000])
    #expect(log.index.usage(of: numbers[1]).objects == 9_000)
    #expect(log.counters.droppedForQuota == 8_995)
    log.setLimits(TenantLimits(), of: tenants[0])
    #expect(log.limits.isEmpty)
  }
}
