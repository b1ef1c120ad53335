import KDNCore
import Testing

@testable import KDNPool

@Suite("Operations on documents")
struct DocumentEditTests {
  private let fixture: Fixture
  private let spans: TokenSpans
  private let epoch: UInt64

  init() throws {
    fixture = try Fixture()
    spans = try TokenSpans([0..<4])
    let text = try Document(
      name: "a", layout: fixture.layout.id, tokenCount: 32, chunkTokens: 16,
      hashes: [fixture.hash(1), fixture.hash(2)])
    epoch = try fixture.pool.publish(text, in: fixture.tenant).epoch
  }

  private func add(
    _ operation: EditOperation, epoch: UInt64 = 0, to name: String = "a"
  ) -> Result<UInt64, PoolRefusal> {
    let answer = Guarded<Result<UInt64, PoolRefusal>>(.failure(.unavailable))
    fixture.pool.edit(document: name, epoch: epoch, operation, in: fixture.tenant) { result in
      answer.withLock { $0 = result }
    }
    return answer.withLock { $0 }
  }

  private func revert(_ id: UInt64, of name: String = "a") -> Result<Int, PoolRefusal> {
    let answer = Guarded<Result<Int, PoolRefusal>>(.failure(.unavailable))
    fixture.pool.revert(document: name, id: id, in: fixture.tenant) { result in
      answer.withLock { $0 = result }
    }
    return answer.withLock { $0 }
  }

  private var edits: [DocumentEdit] {
    fixture.pool.published(document: "a", in: fixture.tenant)?.edits ?? []
  }

  private func field(_ result: Result<UInt64, PoolRefusal>) -> String? {
    switch result {
    case .failure(.fault(let fault)), .failure(.limit(let fault)): fault.field
    default: nil
    }
  }

  @Test("stack in the order of their ids and are reverted one by one or all")
  func stacking() throws {
    let operations: [EditOperation] = [
      .scaleKeys(1.5, spans), .drop(spans), .scaleValues(0, spans),
    ]
    let ids = try operations.map { try add($0).get() }
    #expect(ids == ids.sorted() && Set(ids).count == 3 && ids[0] > epoch)
    #expect(edits.map(\.operation) == operations && edits.map(\.id) == ids)
    #expect(try revert(ids[1]).get() == 1)
    #expect(edits.map(\.id) == [ids[0], ids[2]])
    #expect(revert(ids[1]) == .failure(.notFound(what: "id", number: ids[1])))
    #expect(try revert(0).get() == 2)
    #expect(edits.isEmpty)
    #expect(try revert(0).get() == 0)
    // An id is never given again.
    #expect(try add(.drop(spans)).get() > ids[2])
  }

  @Test("make another document of the same epoch, and go when the text is published anew")
  func epochs() throws {
    let before = fixture.pool.published(document: "a", in: fixture.tenant)
    _ = try add(.drop(spans), epoch: epoch).get()
    let after = try #require(fixture.pool.published(document: "a", in: fixture.tenant))
    #expect(after.epoch == epoch && after !== before && before?.edits.isEmpty == true)
    _ = try fixture.pool.publish(after.document, in: fixture.tenant)
    #expect(edits.isEmpty)
    #expect(field(add(.drop(spans), epoch: epoch)) == "epoch")
  }

  @Test("of scores come to the tokens that are dropped, the lowest, of equal ones the later")
  func keep() throws {
    let scores = (0..<32).map { Float($0 % 4) }
    _ = try add(.keep(permille: 750, scores: scores)).get()
    let lowest = stride(from: 0, to: 32, by: 4).map { $0..<$0 + 1 }
    #expect(edits.map(\.operation) == [.drop(try TokenSpans(lowest))])
    _ = try revert(0).get()
    _ = try add(.keep(permille: 500, scores: [Float](repeating: 1, count: 32))).get()
    #expect(edits.map(\.operation) == [.drop(try TokenSpans([16..<32]))])
    #expect(field(add(.keep(permille: 1000, scores: scores))) == "permille")
    #expect(field(add(.keep(permille: 500, scores: [1]))) == "scoreCount")
  }

  @Test("that are wrong are refused, and nothing changes")
  func wrong() throws {
    let charged = fixture.pool.statistics.chargedBytes
    #expect(field(add(.drop(try TokenSpans([30..<33])))) == "span")
    #expect(field(add(.scaleKeys(.nan, spans))) == "strength")
    #expect(field(add(.scaleKeys(0, spans))) == "strength")
    #expect(field(add(.drop(.none))) == "spanCount")
    #expect(add(.drop(spans), to: "b") == .failure(.notFound(what: "name", number: 0)))
    #expect(revert(0, of: "b") == .failure(.notFound(what: "name", number: 0)))
    #expect(edits.isEmpty && fixture.pool.statistics.chargedBytes == charged)
  }

  @Test("are so many at most, and are charged and refunded")
  func limit() throws {
    let charged = fixture.pool.statistics.chargedBytes
    for _ in 0..<EditOperation.countMax { _ = try add(.drop(spans)).get() }
    #expect(field(add(.drop(spans))) == "edits")
    #expect(fixture.pool.statistics.chargedBytes > charged)
    _ = try revert(0).get()
    #expect(fixture.pool.statistics.chargedBytes == charged)
  }

  @Test("and documents are turned away beyond what a record holds")
  func recordLimit() throws {
    var table = fixture.pool.documents.table(of: fixture.tenant)
    let bounds = DocumentBounds(
      countMax: 10, recordBytesMax: table.recordBytes + 100, budget: fixture.pool.budget)
    let before = table.recordBytes
    let refusal = #expect(throws: PoolRefusal.self) {
      try table.carryOut(.edit("a", epoch: 0, .drop(spans)), bounds)
    }
    guard case .limit(let fault) = refusal else {
      Issue.record("not refused: \(String(describing: refusal))")
      return
    }
    #expect(fault.field == "documentBytes" && table.recordBytes == before)
    _ = try table.carryOut(.retire("a"), bounds)
    #expect(table.recordBytes < before && table.count == 0)
  }
}
