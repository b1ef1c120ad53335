import Foundation
import KDNCore
import KDNMemory
import Testing

@testable import KDNTier

@Suite("Another form of an object on disk")
struct RewriteTests {
  /// A form of object `number` whose bytes are those of object `number` + 1000.
  private func form(
    _ fixture: LogFixture, _ number: Int, _ count: Int, of facts: ObjectFacts
  ) -> StoredForm {
    StoredForm(
      codec: 3, byteCount: count, checksum: Checksum(of: fixture.bytes(number + 1000, count)),
      decodedChecksum: Checksum(9), profile: HashChain.opaque([7]))
  }

  private func rewrite(
    _ facts: ObjectFacts, _ bytes: [UInt8], _ fixture: LogFixture, _ tier: DiskTier
  ) async throws -> Result<Void, TierRefusal> {
    let lease = try fixture.leased(bytes)
    return await withCheckedContinuation { continuation in
      tier.rewrite(facts, lease) { continuation.resume(returning: $0) }
    }
  }

  private func held(_ number: Int, _ fixture: LogFixture, _ tier: DiskTier) throws -> HeldFacts? {
    guard case .held(let held) = tier.find(try fixture.key(number), in: fixture.tenant) else {
      return nil
    }
    return held
  }

  private func readForm(
    _ number: Int, _ count: Int, _ fixture: LogFixture, _ tier: DiskTier
  ) async throws -> (reading: TierReading, bytes: [UInt8]) {
    guard let memory = fixture.arena.reserve(byteCount: count, owner: fixture.owner) else {
      throw LogFixture.Full()
    }
    let room = TierRoom(memory)
    let key = try fixture.key(number)
    let reading = await withCheckedContinuation { continuation in
      tier.read(key, in: fixture.tenant, into: room) { continuation.resume(returning: $0) }
    }
    return (reading, [UInt8](UnsafeRawBufferPointer(start: room.base, count: room.byteCount)))
  }

  @Test(
    "takes the place of the old one and comes back after a restart",
    arguments: [(5000, 700), (300_000, 90_000), (100_000, 99_999)])
  func replaces(size: Int, count: Int) async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open()
    try await fixture.write(1, size, to: first).get()
    let facts = try fixture.facts(1, size)
    let form = form(fixture, 1, count, of: facts)
    let bytes = fixture.bytes(1001, count)
    try await rewrite(facts.inForm(form), bytes, fixture, first).get()
    #expect(try held(1, fixture, first)?.form == form)
    #expect(first.usage(of: fixture.tenant).bytes == count)
    #expect(first.forms == [3: FormShare(objects: 1, bytes: count, rawBytes: size)])
    await fixture.close(first)
    let second = try await fixture.open()
    let found = try held(1, fixture, second)
    #expect(found?.form == form && found?.byteCount == size)
    #expect(found?.checksum == facts.checksum && found?.isDurable == true)
    let (reading, read) = try await readForm(1, count, fixture, second)
    #expect(reading == .whole(facts.inForm(form)) && read == bytes)
    #expect(second.usage(of: fixture.tenant).bytes == count)
    await fixture.close(second)
  }

  @Test("is told apart from raw bytes by the room that a reader brings")
  func room() async throws {
    let fixture = try LogFixture()
    let tier = try await fixture.open()
    try await fixture.write(1, 5000, to: tier).get()
    let facts = try fixture.facts(1, 5000)
    let bytes = fixture.bytes(1001, 700)
    let form = form(fixture, 1, 700, of: facts)
    try await rewrite(facts.inForm(form), bytes, fixture, tier).get()
    let (reading, _) = try await readForm(1, 5000, fixture, tier)
    #expect(reading == .missed(.purged))
    await fixture.close(tier)
  }

  @Test("can be what it was stored as again")
  func back() async throws {
    let fixture = try LogFixture()
    let tier = try await fixture.open()
    try await fixture.write(1, 5000, to: tier).get()
    let facts = try fixture.facts(1, 5000)
    let form = form(fixture, 1, 700, of: facts)
    try await rewrite(facts.inForm(form), fixture.bytes(1001, 700), fixture, tier).get()
    try await rewrite(facts, fixture.bytes(1, 5000), fixture, tier).get()
    #expect(try held(1, fixture, tier)?.form == nil)
    #expect(try await fixture.read(1, from: tier).isWhole)
    #expect(tier.forms == [0: FormShare(objects: 1, bytes: 5000, rawBytes: 5000)])
    await fixture.close(tier)
  }

  @Test("is refused for what is not here, is other bytes, or would exceed a quota")
  func refusals() async throws {
    let fixture = try LogFixture()
    let tier = try await fixture.open()
    let facts = try fixture.facts(1, 5000)
    let form = form(fixture, 1, 700, of: facts)
    let bytes = fixture.bytes(1001, 700)
    #expect(try await rewrite(facts.inForm(form), bytes, fixture, tier) == .gone)
    try await fixture.write(1, 5000, to: tier).get()
    var other = facts
    other.checksum = Checksum(1)
    #expect(try await rewrite(other.inForm(form), bytes, fixture, tier) == .gone)
    try await rewrite(facts.inForm(form), bytes, fixture, tier).get()
    tier.setLimits(diskBytesMax: 4999, pinnedBytesMax: nil, of: fixture.tenant)
    let large = try await rewrite(facts, fixture.bytes(1, 5000), fixture, tier)
    #expect(large == .overQuota(limit: 4999))
    #expect(try await fixture.purge(.keys([try fixture.key(1)]), from: tier) == 1)
    #expect(try await rewrite(facts, fixture.bytes(1, 5000), fixture, tier) == .gone)
    await fixture.close(tier)
  }

  @Test("survives the reclaiming of its segment as it is")
  func reclaimed() async throws {
    let fixture = try LogFixture()
    let first = try await fixture.open()
    try await fixture.write(0, 100_000, to: first).get()
    let facts = try fixture.facts(0, 100_000)
    let form = form(fixture, 0, 30_000, of: facts)
    let bytes = fixture.bytes(1000, 30_000)
    try await rewrite(facts.inForm(form), bytes, fixture, first).get()
    #expect(
      first.pin([try fixture.key(0)], in: fixture.tenant, milliseconds: 1_000_000)
        == .success([true]))
    #expect(first.usage(of: fixture.tenant).pinnedBytes == 30_000)
    for number in 1..<300 {
      try await fixture.write(number, 150_000, to: first, isDurable: false).get()
    }
    await fixture.close(first)
    let second = try await fixture.open()
    let (reading, read) = try await readForm(0, 30_000, fixture, second)
    #expect(reading == .whole(facts.inForm(form)) && read == bytes)
    await fixture.close(second)
  }
}

extension Result<Void, TierRefusal> {
  static func == (left: Self, right: TierRefusal) -> Bool {
    if case .failure(let refusal) = left { refusal == right } else { false }
  }
}
