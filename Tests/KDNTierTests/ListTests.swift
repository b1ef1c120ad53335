import KDNCore
import Testing

@testable import KDNTier

@Suite("Lists of the segment log")
struct ListTests {
  private let fixture: LogFixture

  init() throws { fixture = try LogFixture() }

  private func pages(_ tier: DiskTier, limit: Int) -> [[TierListing]] {
    var pages: [[TierListing]] = []
    var cursor: TierCursor?
    repeat {
      let page = tier.list(in: fixture.tenant, after: cursor, limit: limit)
      pages.append(page.objects)
      cursor = page.next
    } while cursor != nil
    return pages
  }

  @Test("each object is on one page, before and after a restart", arguments: [1, 3, 10, 11, 5000])
  func pagesAll(limit: Int) async throws {
    let first = try await fixture.open()
    for number in 0..<10 {
      try await fixture.write(number, 100 + number, to: first).get()
      let other = try NamespaceName("other")
      try await fixture.write(number, 50, to: first, isDurable: false, of: other).get()
    }
    let expected = try (0..<10).map { try fixture.key($0) }
    for page in pages(first, limit: limit) { #expect(page.count <= limit) }
    #expect(pages(first, limit: limit).joined().map(\.key) == expected)
    await fixture.close(first)
    let second = try await fixture.open()
    #expect(pages(second, limit: limit).joined().map(\.key) == expected)
    #expect(pages(second, limit: limit).joined().map(\.byteCount) == Array(100..<110))
    await fixture.close(second)
  }

  @Test("what comes and goes between pages moves nothing else")
  func isStable() async throws {
    let tier = try await fixture.open()
    for number in 0..<9 { try await fixture.write(number, 100, to: tier).get() }
    let first = tier.list(in: fixture.tenant, after: nil, limit: 4)
    // Behind, at, and before the cursor; the last of them comes again.
    _ = try await fixture.purge(.keys([1, 3, 4].map { try fixture.key($0) }), from: tier)
    try await fixture.write(4, 200, to: tier).get()
    let rest = tier.list(in: fixture.tenant, after: first.next, limit: 100)
    let keys = (first.objects + rest.objects).map(\.key)
    #expect(try keys == [0, 1, 2, 3, 5, 6, 7, 8, 4].map { try fixture.key($0) })
    #expect(rest.next == nil)
    await fixture.close(tier)
  }

  @Test("tells what is known of an object without reading it")
  func tellsFacts() async throws {
    let tier = try await fixture.open()
    let layout = ObjectKey(
      hash: try fixture.hash(7), layout: LayoutID.none,
      part: Part(firstLayer: 0, layerCount: 2, firstKVHead: 0, kvHeadCount: 1), variant: 3)
    let bytes = fixture.bytes(7, 500)
    let facts = ObjectFacts(
      namespace: fixture.tenant, generation: 0, key: layout, byteCount: 500,
      checksum: Checksum(of: bytes), firstToken: 128, tokenCount: 64,
      storedAtMilliseconds: fixture.wall.milliseconds(), ttlMilliseconds: 1_000)
    try await fixture.write(facts, bytes, to: tier).get()
    tier.touch(layout, in: fixture.tenant)
    #expect(try tier.pin([layout], in: fixture.tenant, milliseconds: 60_000).get() == [true])
    fixture.wall.set(milliseconds: fixture.wall.milliseconds() + 400)
    let expected = TierListing(
      key: layout, byteCount: 500, tokenCount: 64, firstToken: 128, uses: 1, isPinned: true,
      ttlMilliseconds: 600)
    #expect(tier.list(in: fixture.tenant, after: nil, limit: 9).objects == [expected])
    await fixture.close(tier)
  }

  @Test(
    "a cursor or limit of any number does no harm",
    arguments: [0, 1, 1 << 63, UInt64.max], [Int.min, 0, 1, .max])
  func takesAnyCursor(number: UInt64, limit: Int) async throws {
    let tier = try await fixture.open()
    for number in 0..<3 { try await fixture.write(number, 100, to: tier).get() }
    let page = tier.list(in: fixture.tenant, after: TierCursor(number: number), limit: limit)
    #expect(page.objects.count <= max(1, min(3, limit)))
    let nobody = try NamespaceName("nobody")
    #expect(tier.list(in: nobody, after: TierCursor(number: number), limit: limit).next == nil)
    await fixture.close(tier)
  }

  @Test("keys of hashes are those of all layouts, parts and variants, and the opaque one")
  func findsKeys() async throws {
    let tier = try await fixture.open()
    var expected: Set<ObjectKey> = [try fixture.key(5)]
    for variant in UInt32(0)..<2 {
      for layer in UInt16(0)..<3 {
        expected.insert(
          ObjectKey(
            hash: try fixture.hash(5), layout: LayoutID.none,
            part: Part(firstLayer: layer, layerCount: 1, firstKVHead: 0, kvHeadCount: 1),
            variant: variant))
      }
    }
    for key in expected {
      var facts = try fixture.facts(5, 300)
      facts.key = key
      try await fixture.write(facts, fixture.bytes(5, 300), to: tier).get()
    }
    for number in 0..<5 { try await fixture.write(number, 300, to: tier).get() }
    try await fixture.write(5, 300, to: tier, of: NamespaceName("other")).get()
    let found = tier.keys(of: [try fixture.hash(5), try fixture.hash(77)], in: fixture.tenant)
    #expect(found.count == expected.count && Set(found) == expected)
    #expect(tier.keys(of: [], in: fixture.tenant) == [])
    #expect(try tier.keys(of: [fixture.hash(5)], in: NamespaceName("nobody")) == [])
    await fixture.close(tier)
  }
}
