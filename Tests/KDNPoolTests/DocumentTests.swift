import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct DocumentTests {
  private func document(_ name: String, chunks: Int = 2, in fixture: Fixture) throws -> Document {
    try Document(
      name: name, layout: fixture.layout.id, tokenCount: chunks * 16, chunkTokens: 16,
      hashes: (1...chunks).map { fixture.key($0).hash })
  }

  @Test func aNameIsChargedAndRefundedWhenReplacedOrRetired() throws {
    let fixture = try Fixture()
    let pool = fixture.pool
    let before = pool.statistics.chargedBytes
    let small = try document("a", in: fixture)
    _ = try pool.publish(small, in: fixture.tenant)
    #expect(pool.statistics.chargedBytes == before + small.byteCount)
    let large = try document("a", chunks: 40, in: fixture)
    _ = try pool.publish(large, in: fixture.tenant)
    #expect(pool.statistics.chargedBytes == before + large.byteCount)
    #expect(pool.retire(document: "a", in: fixture.tenant)?.document == large)
    #expect(pool.statistics.chargedBytes == before)
    #expect(pool.retire(document: "a", in: fixture.tenant) == nil)
  }

  @Test func epochsGrowAndTellATextFromTheOneItReplaced() throws {
    let fixture = try Fixture()
    let first = try fixture.pool.publish(document("a", in: fixture), in: fixture.tenant)
    let second = try fixture.pool.publish(document("b", in: fixture), in: fixture.tenant)
    let third = try fixture.pool.publish(document("a", in: fixture), in: fixture.tenant)
    #expect(first.epoch < second.epoch && second.epoch < third.epoch)
    let found = fixture.pool.resolve(document: "a", in: fixture.tenant)
    #expect(found?.document.epoch == third.epoch)
  }

  @Test func presentChunksAreTheLeadingOnesOfItsLayout() throws {
    let fixture = try Fixture()
    let text = try document("a", chunks: 3, in: fixture)
    _ = try fixture.pool.publish(text, in: fixture.tenant)
    for (number, present) in [(1, 1), (3, 1), (2, 3)] {
      try fixture.store(fixture.facts(number))
      #expect(
        fixture.pool.resolve(document: "a", in: fixture.tenant)?.presentChunks == present)
    }
  }

  @Test func namesThatDifferInBytesAreDifferentNames() throws {
    let fixture = try Fixture()
    for name in ["é", "e\u{301}"] {
      _ = try fixture.pool.publish(document(name, in: fixture), in: fixture.tenant)
    }
    let names = fixture.pool.documents(after: "", limit: 10, in: fixture.tenant)
    #expect(
      names.map { Array($0.document.name.utf8) } == [Array("e\u{301}".utf8), Array("é".utf8)])
  }

  @Test(arguments: 0..<20)
  func aTableListsAsASortedModelDoes(seed: UInt64) throws {
    var random = Dice(state: seed)
    let fixture = try Fixture()
    var model: Set<String> = []
    for _ in 0..<200 {
      let name = String(UInt8.random(in: 0...40, using: &random))
      if Bool.random(using: &random) {
        _ = try fixture.pool.publish(document(name, in: fixture), in: fixture.tenant)
        model.insert(name)
      } else {
        let retired = fixture.pool.retire(document: name, in: fixture.tenant)
        #expect((retired != nil) == (model.remove(name) != nil))
      }
      let after = String(UInt8.random(in: 0...40, using: &random))
      let page = fixture.pool.documents(after: after, limit: 5, in: fixture.tenant)
      #expect(
        page.map(\.document.name) == model.sorted().filter { $0 > after }.prefix(5).map { $0 })
    }
  }

  @Test func namespacesKnowNothingOfEachOthersNames() throws {
    let fixture = try Fixture()
    let other = try fixture.pool.namespace(NamespaceName("other"))
    _ = try fixture.pool.publish(document("a", in: fixture), in: fixture.tenant)
    #expect(fixture.pool.resolve(document: "a", in: other) == nil)
    #expect(fixture.pool.documents(after: "", limit: 10, in: other).isEmpty)
  }

  @Test func aPurgeOfTheNamespaceForgetsItsNamesAndNoOthers() throws {
    let fixture = try Fixture()
    let before = fixture.pool.statistics.chargedBytes
    let other = try fixture.pool.namespace(NamespaceName("other"))
    _ = try fixture.pool.register(fixture.layout, in: other)
    let text = try document("a", in: fixture)
    _ = try fixture.pool.publish(text, in: fixture.tenant)
    _ = try fixture.pool.publish(text, in: other)
    fixture.purge(.keys(text.hashes.map { ObjectKey(opaque: $0) }))
    #expect(fixture.pool.resolve(document: "a", in: fixture.tenant) != nil)
    fixture.purge(.namespace)
    #expect(fixture.pool.resolve(document: "a", in: fixture.tenant) == nil)
    #expect(fixture.pool.resolve(document: "a", in: other) != nil)
    #expect(fixture.pool.statistics.chargedBytes == before + text.byteCount)
  }

  @Test func aLimitOfNamesIsKept() throws {
    let fixture = try Fixture { $0.documentsPerNamespaceMax = 2 }
    for name in ["a", "b", "a"] {
      _ = try fixture.pool.publish(document(name, in: fixture), in: fixture.tenant)
    }
    let before = fixture.pool.statistics.chargedBytes
    let refusal = fixture.refusal {
      _ = try fixture.pool.publish(document("c", in: fixture), in: fixture.tenant)
    }
    guard case .limit(let fault) = refusal else {
      Issue.record("not refused: \(String(describing: refusal))")
      return
    }
    #expect(fault.field == "documents")
    #expect(fixture.pool.statistics.chargedBytes == before)
  }
}

/// SplitMix64: the same seed gives the same run.
private struct Dice: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
