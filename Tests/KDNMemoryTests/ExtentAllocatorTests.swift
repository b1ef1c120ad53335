import Testing

@testable import KDNMemory

@Suite("The extent allocator")
struct ExtentAllocatorTests {
  @Test("gives whole slabs, halves and quarters without waste")
  func givesExactFits() throws {
    for count in [1, 2, 4, 8] {
      var allocator = ExtentAllocator(capacity: 64 << 20)
      var grants: [ExtentAllocator.Grant] = []
      for _ in 0..<count { grants.append(try allocator.take((64 << 20) / count)) }
      #expect(allocator.allocatedBytes == 64 << 20)
      try allocator.mustRefuse(1)
      for grant in grants { allocator.free(grant) }
      _ = try allocator.take(64 << 20)
    }
  }

  @Test(
    "aligns small extents to 64 bytes and large ones to pages", arguments: [1, 63, 64, 65, 4095])
  func aligns(byteCount: Int) throws {
    var allocator = ExtentAllocator(capacity: 16 << 20)
    let small = try allocator.take(byteCount)
    let large = try allocator.take((64 << 10) + byteCount)
    let next = try allocator.take(byteCount)
    #expect(small.offset % 64 == 0)
    #expect(large.offset % 4096 == 0)
    #expect(next.offset % 64 == 0)
  }

  @Test("joins neighbours whichever is freed first")
  func coalesces() throws {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    for order in orders {
      var allocator = ExtentAllocator(capacity: 3 << 20)
      let grants = try (0..<3).map { _ in
        try allocator.take(1 << 20)
      }
      for index in order { allocator.free(grants[index]) }
      #expect(allocator.largestFreeBytes == 3 << 20)
      _ = try allocator.take(3 << 20)
    }
  }

  @Test("refuses what is empty or larger than the slab")
  func refusesImpossible() throws {
    var allocator = ExtentAllocator(capacity: 1 << 20)
    try allocator.mustRefuse(0)
    try allocator.mustRefuse(-1)
    try allocator.mustRefuse((1 << 20) + 1)
  }

  @Test("traps when an extent is freed twice")
  func trapsOnDoubleFree() async {
    await #expect(processExitsWith: .failure) {
      var allocator = ExtentAllocator(capacity: 1 << 20)
      guard let grant = allocator.allocate(byteCount: 100) else { return }
      allocator.free(grant)
      allocator.free(grant)
    }
  }

  /// Random operations against a naive model: a sorted list of taken ranges.
  @Test("never overlaps, loses or misaligns an extent", arguments: [1, 2, 3, 4, 5] as [UInt64])
  func matchesModel(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    let capacity = 8 << 20
    var allocator = ExtentAllocator(capacity: capacity)
    var taken: [ExtentAllocator.Grant] = []
    for step in 0..<20_000 {
      if taken.isEmpty || random.next(below: 100) < 55 {
        let byteCount = 1 + random.next(below: 1 << random.next(below: 20))
        guard let grant = allocator.allocate(byteCount: byteCount) else { continue }
        let range = grant.offset..<grant.offset + grant.byteCount
        #expect(grant.byteCount >= byteCount && range.upperBound <= capacity, "step \(step)")
        let isClear = taken.allSatisfy {
          range.upperBound <= $0.offset || $0.offset + $0.byteCount <= range.lowerBound
        }
        #expect(isClear, "seed \(seed) step \(step): overlap")
        taken.append(grant)
      } else {
        allocator.free(taken.remove(at: random.next(below: taken.count)))
      }
      #expect(allocator.allocatedBytes == taken.reduce(0) { $0 + $1.byteCount })
      #expect(allocator.extentCount == taken.count)
    }
    for grant in taken { allocator.free(grant) }
    #expect(allocator.largestFreeBytes == capacity, "seed \(seed): free space did not join again")
  }
}

private struct NoExtent: Error {}

extension ExtentAllocator {
  fileprivate mutating func take(_ byteCount: Int) throws -> Grant {
    guard let grant = allocate(byteCount: byteCount) else { throw NoExtent() }
    return grant
  }

  fileprivate mutating func mustRefuse(_ byteCount: Int) throws {
    let grant = allocate(byteCount: byteCount)
    #expect(grant == nil)
  }
}

/// A small seeded generator: SplitMix64 (Steele, Lea, Flood 2014).
struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func next(below limit: Int) -> Int { Int(next() % UInt64(max(1, limit))) }
}
