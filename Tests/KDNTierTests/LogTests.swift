import Foundation
import KDNCore
import Testing

@testable import KDNTier

@Suite("The segment log")
struct LogTests {
  @Test(
    "gives back what it took, of any size, before and after a restart",
    arguments: [1, 511, 512, 3584, 4096, 65_535, 65_536, 65_537, 300_000])
  func keepsBytes(size: Int) async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open()
    for number in 0..<5 { try await fixture.write(number, size, to: first).get() }
    for number in 0..<5 { #expect(try await fixture.read(number, from: first).isWhole) }
    await fixture.close(first)
    let second = try await fixture.open()
    for number in 0..<5 { #expect(try await fixture.read(number, from: second).isWhole) }
    await fixture.close(second)
  }

  @Test("never has more bytes in its directory than its cap, and goes on taking objects")
  func holdsCap() async throws {
    let fixture = try LogFixture()
    let tier = try await fixture.open()
    for number in 0..<300 {
      try await fixture.write(number, 150_000, to: tier, isDurable: false).get()
      let used = try fixture.usedBytes(of: "a")
      #expect(used <= fixture.capacityBytes)
    }
    let statistics = tier.statistics
    #expect(statistics.reclaimedSegments > 10)
    #expect(statistics.directories[0].usedBytes <= fixture.capacityBytes)
    #expect(try await fixture.read(299, from: tier).isWhole)
    #expect(try await fixture.read(0, from: tier) == .missed(.neverStored))
    await fixture.close(tier)
  }

  @Test("keeps what is pinned and what is used when it reclaims, across restarts too")
  func keepsPinned() async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open()
    try await fixture.write(0, 100_000, to: first).get()
    try await fixture.write(1, 100_000, to: first).get()
    let pinned = first.pin(
      [try fixture.key(0)], in: fixture.tenant, milliseconds: 1_000_000)
    #expect(pinned == .success([true]))
    await fixture.close(first)
    let second = try await fixture.open()
    for number in 2..<300 {
      try await fixture.write(number, 150_000, to: second, isDurable: false).get()
    }
    #expect(try await fixture.read(0, from: second).isWhole)
    #expect(try await fixture.read(1, from: second) == .missed(.neverStored))
    fixture.wall.set(milliseconds: fixture.wall.milliseconds() + 1_000_001)
    second.tick(now: fixture.clock.now())
    for number in 300..<600 {
      try await fixture.write(number, 150_000, to: second, isDurable: false).get()
    }
    #expect(try await fixture.read(0, from: second) == .missed(.neverStored))
    await fixture.close(second)
  }

  @Test("brings back nothing that was purged, by key, layout of a generation or namespace")
  func purgesForGood() async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open("a", "b")
    for number in 0..<10 { try await fixture.write(number, 5_000, to: first).get() }
    #expect(try await fixture.purge(.keys([fixture.key(3), fixture.key(99)]), from: first) == 1)
    await fixture.close(first)
    let second = try await fixture.open("a", "b")
    #expect(try await fixture.read(3, from: second) == .missed(.neverStored))
    #expect(try await fixture.read(4, from: second).isWhole)
    try await fixture.write(3, 5_000, to: second).get()
    #expect(try await fixture.purge(.before(generation: 1), from: second) == 10)
    try await fixture.write(3, 5_000, to: second, generation: 1).get()
    await fixture.close(second)
    let third = try await fixture.open("a", "b")
    #expect(third.generation(of: fixture.tenant) == 1)
    #expect(try await fixture.read(3, from: third).isWhole)
    #expect(try await fixture.read(4, from: third) == .missed(.neverStored))
    await fixture.close(third)
  }

  @Test("a TTL goes on while nothing runs, and no clock set back makes it longer")
  func keepsTTL() async throws {
    let fixture = try LogFixture()
    let start = fixture.wall.milliseconds()
    let first = try await fixture.open()
    try await fixture.write(1, 100, to: first, ttl: 1_000).get()
    await fixture.close(first)
    fixture.wall.set(milliseconds: start - 50_000)
    let second = try await fixture.open()
    #expect(try await fixture.read(1, from: second).isWhole)
    fixture.wall.set(milliseconds: start + 1_000)
    #expect(second.find(try fixture.key(1), in: fixture.tenant) == .absent(.expired))
    await fixture.close(second)
    let third = try await fixture.open()
    #expect(third.find(try fixture.key(1), in: fixture.tenant) == .absent(nil))
    await fixture.close(third)
  }

  @Test("a flipped bit costs its own object, and it stays away after a restart")
  func dropsDamaged() async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open()
    for number in 0..<4 { try await fixture.write(number, 70_000, to: first).get() }
    await fixture.close(first)
    let url = fixture.folder.url("a/segment-00000001")
    var bytes = try Data(contentsOf: url)
    let place = 4096 + (70_000 + 8191) / 4096 * 4096 + 4096 + 1000
    bytes[place] ^= 4
    try bytes.write(to: url)
    let second = try await fixture.open()
    #expect(try await fixture.read(1, from: second) == .missed(.corrupt))
    for number in [0, 2, 3] { #expect(try await fixture.read(number, from: second).isWhole) }
    #expect(second.statistics.corrupt == 1)
    await fixture.close(second)
    let third = try await fixture.open()
    #expect(try await fixture.read(1, from: third) == .missed(.neverStored))
    await fixture.close(third)
  }

  @Test("finds what a segment held that was never sealed, and nothing that only looks like it")
  func scansUnsealed() async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open()
    for number in 0..<6 { try await fixture.write(number, 20_000, to: first).get() }
    // Stopped without being closed: the copy is what a kill would have left.
    let copy = fixture.folder.url("b")
    try FileManager.default.copyItem(at: fixture.folder.url("a"), to: copy)
    await fixture.close(first)
    let second = try await fixture.open("b")
    for number in 0..<6 { #expect(try await fixture.read(number, from: second).isWhole) }
    #expect(fixture.events.has("segment was open"))
    await fixture.close(second)
  }

  @Test("a newer format is refused and names the way out")
  func refusesNewer() async throws {
    let fixture = try LogFixture()
    await fixture.close(try await fixture.open())
    let url = fixture.folder.url("a/superblock")
    var bytes = try Data(contentsOf: url)
    bytes[4] = 9
    try bytes.write(to: url)
    do {
      _ = try await fixture.open()
      Issue.record("a newer format was opened")
    } catch let fault as DiskTierFault {
      #expect("\(fault)".contains("format 9"))
      #expect("\(fault)".contains("--reset-cache"))
    }
  }

  @Test("a damaged journal makes nothing in its directory believed")
  func distrusts() async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open()
    for number in 0..<4 { try await fixture.write(number, 1_000, to: first).get() }
    for number in 0..<3 { _ = try await fixture.purge(.keys([fixture.key(number)]), from: first) }
    await fixture.close(first)
    let url = fixture.folder.url("a/journal-0")
    var bytes = try Data(contentsOf: url)
    bytes[4096 * 2 + 40] ^= 1
    try bytes.write(to: url)
    let second = try await fixture.open()
    for number in 0..<4 {
      #expect(try await fixture.read(number, from: second) == .missed(.neverStored))
    }
    #expect(fixture.events.has("journal damaged"))
    try await fixture.write(1, 1_000, to: second).get()
    await fixture.close(second)
    let third = try await fixture.open()
    #expect(try await fixture.read(1, from: third).isWhole)
    await fixture.close(third)
  }

  @Test("forgets purges that nothing can fall under any more, so the journal never fills")
  func forgetsPurges() async throws {
    let fixture = try LogFixture()
    let tier = try await fixture.open()
    for round in 0..<40 {
      for number in 0..<8 {
        try await fixture.write(round * 8 + number, 200_000, to: tier, isDurable: false).get()
      }
      let keys = try (0..<8).map { try fixture.key(round * 8 + $0) }
      #expect(try await fixture.purge(.keys(keys), from: tier) == 8)
    }
    #expect(tier.statistics.tombstones < 200)
    #expect(!fixture.events.has("journal full"))
    await fixture.close(tier)
  }
}
