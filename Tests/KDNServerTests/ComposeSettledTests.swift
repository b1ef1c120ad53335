import KDNClient
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

struct ComposeSettledTests: ServerTesting {
  private static let settling = HashChain.opaque([1])

  /// Documents 1 and 2, of which 2 was settled: it then has the bytes of document 5.
  private func site() throws -> ComposeSite {
    let site = try ComposeSite(makeServer())
    try site.learn(1, tokens: 40)
    try site.learn(2, tokens: 70)
    try site.settle(2, tokens: 70, by: Self.settling, as: 5)
    return site
  }

  @Test func laterDocumentsAreReadAsTheyWereSettledAndTheFirstAsItWasComputed() throws {
    let site = try site()
    let settled = try site.compose([1, 2], settling: Self.settling)
    try site.check(settled, [1, 5])
    let plain = try site.compose([1, 2])
    try site.check(plain, [1, 2])
    #expect(settled.pieces == plain.pieces && settled.hash != plain.hash)
    // In front of all others nothing is settled, so nothing need be there.
    try site.settle(1, tokens: 40, by: Self.settling, as: 6)
    try site.check(try site.compose([2, 1], settling: Self.settling), [2, 6])
    let other = HashChain.opaque([2])
    #expect(try site.compose([2], settling: other).hash == site.compose([2]).hash)
  }

  @Test func editsAreAppliedToWhatWasSettled() throws {
    let site = try site()
    let marked = try TokenSpans([5..<9])
    try site.edit("document 2", .scaleKeys(1.5, marked))
    let edited = try site.compose([1, 2], settling: Self.settling)
    try site.check(edited, [1, 5]) { document, token in
      document == 5 && marked.ranges.contains { $0.contains(token) } ? 1.5 : 1
    }
  }

  @Test func withoutSettledChunksThereIsNoBlend() throws {
    let site = try site()
    for (documents, settling) in [([1, 2], HashChain.opaque([2])), ([2, 1], Self.settling)] {
      let gone = try #require(
        site.refusal { _ = try site.compose(documents, settling: settling) })
      #expect(gone == (.notFound, "chunks", 1))
    }
  }

  @Test func whoeverPurgesADocumentPurgesWhatWasSettledOfIt() throws {
    let site = try site()
    let settled = try site.compose([1, 2], settling: Self.settling)
    try site.check(settled, [1, 5])
    let hashes = try site.hashes(2, tokens: 70)
    _ = try site.client.purge(.prefixes(hashes))
    let keys = hashes.map {
      ObjectKey(
        hash: HashChain.settled($0, by: Self.settling), layout: site.id, part: site.whole)
    }
    let there = try site.client.exists(keys + [site.key(settled, layer: 0)])
    #expect((0..<4).allSatisfy { !there[$0] })
  }

  @Test func aPurgeOfSettledChunksAloneTakesTheirBlendsAlong() throws {
    let site = try site()
    let settled = try site.compose([1, 2], settling: Self.settling)
    let plain = try site.compose([1, 2])
    try site.check(settled, [1, 5])
    try site.check(plain, [1, 2])
    let hash = try HashChain.settled(site.hashes(2, tokens: 70)[2], by: Self.settling)
    _ = try site.client.purge(.keys([ObjectKey(hash: hash, layout: site.id, part: site.whole)]))
    #expect(try !site.client.exists([site.key(settled, layer: 0)])[0])
    #expect(try site.client.exists([site.key(plain, layer: 0)])[0])
  }
}
