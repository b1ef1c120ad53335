import KDNCore
import KDNMemory
import Testing

@testable import KDNPool

struct WaitTests {
  @Test func aWaitIsToldOnceWhenTheObjectIsVisible() throws {
    let fixture = try Fixture()
    let told = Told()
    let ticket = try fixture.pool.wait(for: fixture.key(1), in: fixture.tenant) {
      if fixture.has(1) { told.tell() }
    }
    try fixture.store(fixture.facts(2))
    #expect(told.number == 0)
    try fixture.store(fixture.facts(1))
    #expect(told.number == 1)
    fixture.purge(.namespace)
    try fixture.store(fixture.facts(1))
    #expect(told.number == 1)
    #expect(try !fixture.pool.cancel(#require(ticket)))
  }

  @Test func nobodyWaitsForWhatIsHere() throws {
    let fixture = try Fixture()
    try fixture.store(fixture.facts(1))
    #expect(try fixture.pool.wait(for: fixture.key(1), in: fixture.tenant) {} == nil)
  }

  @Test func aCancelledWaitIsNeverTold() throws {
    let fixture = try Fixture()
    let told = Told()
    let ticket = try fixture.pool.wait(for: fixture.key(1), in: fixture.tenant) { told.tell() }
    #expect(try fixture.pool.cancel(#require(ticket)))
    #expect(try !fixture.pool.cancel(#require(ticket)))
    try fixture.store(fixture.facts(1))
    #expect(told.number == 0)
    #expect(fixture.pool.statistics.waiters == 0)
  }

  @Test func waitsAreLimited() throws {
    let fixture = try Fixture { $0.waitersMax = 1 }
    _ = try fixture.pool.wait(for: fixture.key(1), in: fixture.tenant) {}
    guard
      case .busy = fixture.refusal({
        _ = try fixture.pool.wait(for: fixture.key(2), in: fixture.tenant) {}
      })
    else {
      Issue.record("a second wait")
      return
    }
  }

  @Test func whoIsToldMayCallThePool() throws {
    let fixture = try Fixture()
    let told = Told()
    _ = try fixture.pool.wait(for: fixture.key(1), in: fixture.tenant) {
      fixture.purge(.keys([fixture.key(1)]))
      _ = try? fixture.pool.wait(for: fixture.key(1), in: fixture.tenant) { told.tell() }
    }
    try fixture.store(fixture.facts(1))
    #expect(!fixture.has(1))
    try fixture.store(fixture.facts(1))
    #expect(told.number == 1)
  }
}
