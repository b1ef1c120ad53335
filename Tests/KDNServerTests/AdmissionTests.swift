import KDNCore
import KDNPool
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

@Suite("The gate of a tenant")
struct AdmissionTests: ServerTesting {
  private let now = Instant(nanoseconds: 1_000_000_000)

  private func gate(_ limits: NamespaceLimits) throws -> (TenantGate, NamespaceCounters) {
    let server = try makeServer()
    let counters = try server.context.pool.namespace(NamespaceName("gated")).counters
    return (TenantGate(counters, limits: limits, now: now), counters)
  }

  @Test("lets so many in, counts them, and lets the next in when one has gone")
  func connections() throws {
    let (gate, counters) = try gate(NamespaceLimits(connectionsMax: 2))
    #expect(gate.enter() == nil)
    #expect(gate.enter() == nil)
    #expect(gate.enter() == 2)
    #expect(counters.snapshot.connections == 2)
    #expect(counters.snapshot.rateRefusals == 1)
    gate.leave()
    #expect(gate.enter() == nil)
    #expect(gate.enter() == 2)
  }

  @Test("without limits nothing is refused and nothing is owed later")
  func unlimited() throws {
    let (gate, counters) = try gate(.none)
    for _ in 0..<1000 {
      #expect(gate.enter() == nil)
      #expect(gate.takeRequest(now: now) == nil)
      #expect(gate.takeBytes(1 << 40, now: now) == nil)
    }
    #expect(counters.snapshot.rateRefusals == 0)
    gate.setLimits(NamespaceLimits(requestsPerSecond: 1, bytesPerSecond: 1), now: now)
    #expect(gate.takeRequest(now: now) == nil)
    #expect(gate.takeRequest(now: now) == RateExcess(milliseconds: 1000, perSecond: 1))
    #expect(gate.takeBytes(1, now: now) == nil)
    #expect(gate.takeBytes(1, now: now) == RateExcess(milliseconds: 1000, perSecond: 1))
    #expect(counters.snapshot.rateRefusals == 2)
  }

  @Test("limits change while connections are open; those above a lowered number stay")
  func change() throws {
    let (gate, counters) = try gate(.none)
    for _ in 0..<5 { #expect(gate.enter() == nil) }
    gate.setLimits(NamespaceLimits(connectionsMax: 3), now: now)
    #expect(gate.enter() == 3)
    #expect(counters.snapshot.connections == 5)
    for _ in 0..<3 { gate.leave() }
    #expect(gate.enter() == nil)
    gate.setLimits(.none, now: now)
    for _ in 0..<100 { #expect(gate.enter() == nil) }
  }

  @Test("loops share one rate: together they get no more than it allows")
  func shared() async throws {
    let (gate, counters) = try gate(NamespaceLimits(requestsPerSecond: 1000))
    let now = now
    let taken = await withTaskGroup(of: Int.self) { group in
      for _ in 0..<4 {
        group.addTask { (0..<1000).filter { _ in gate.takeRequest(now: now) == nil }.count }
      }
      return await group.reduce(0, +)
    }
    #expect(taken == 1000)
    #expect(counters.snapshot.rateRefusals == 3000)
  }

  @Test("all connections of a tenant meet at one gate, and a change reaches it")
  func oneGate() throws {
    let server = try makeServer()
    let limits = Guarded(NamespaceLimits(connectionsMax: 1))
    let admission = Admission { _ in limits.withLock { $0 } }
    let red = try server.context.pool.namespace(NamespaceName("red"))
    let gate = admission.gate(of: red, now: now)
    #expect(admission.gate(of: red, now: now) === gate)
    #expect(gate.enter() == nil)
    #expect(gate.enter() == 1)
    let generation = admission.generation
    limits.withLock { $0.connectionsMax = 2 }
    admission.apply(now: now)
    #expect(gate.enter() == nil)
    #expect(admission.generation > generation)
  }
}
