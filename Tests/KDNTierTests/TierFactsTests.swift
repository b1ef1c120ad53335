import KDNCore
import Testing

@testable import KDNTier

@Suite("What is kept of an object")
struct TierFactsTests {
  @Test("a clock set back never makes a TTL longer than it was")
  func clockSetBack() throws {
    let facts = ObjectFacts(
      namespace: try NamespaceName("a"), generation: 0, key: ObjectKey(opaque: .none),
      byteCount: 1, checksum: Checksum(1), storedAtMilliseconds: 1_000, ttlMilliseconds: 100)
    #expect(facts.ttlLeft(atWallMilliseconds: 10) == 100)
    #expect(facts.ttlLeft(atWallMilliseconds: 1_040) == 60)
    #expect(facts.ttlLeft(atWallMilliseconds: 1_100) == 0)
    #expect(facts.ttlLeft(atWallMilliseconds: .max) == 0)
  }
}
