import Foundation
import KDNCore
import KDNMemory
import Testing

@testable import KDNTier

/// Holds reads back until told, and counts them; everything else goes on.
private final class ReadGate: DiskEngine {
  private struct State: Sendable {
    var isOpen = true
    var works = 0
    var held: [@Sendable () -> Void] = []
  }

  private let engine: any DiskEngine
  private let state = Guarded(State())
  let name = "gate"

  init() throws { engine = try ThreadEngine(readers: 2, writers: 2, others: 1, label: "gate") }

  /// How many works that read were submitted.
  var works: Int { state.withLock { $0.works } }

  func shut() {
    state.withLock { state in
      state.isOpen = false
      state.works = 0
    }
  }

  func open() {
    let held = state.withLock { state in
      defer { state.held = [] }
      state.isOpen = true
      return state.held
    }
    for work in held { work() }
  }

  func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    guard case .read = work else { return engine.submit(work, completion: completion) }
    let engine = engine
    let isOpen = state.withLock { state in
      state.works += 1
      if !state.isOpen { state.held.append { engine.submit(work, completion: completion) } }
      return state.isOpen
    }
    if isOpen { engine.submit(work, completion: completion) }
  }

  func shutDown() { engine.shutDown() }
}

/// Room for a read, which a test can hold although reservations cannot be copied.
private struct ReservationBox {
  let room: TierRoom

  init?(_ arena: Arena, _ byteCount: Int, _ owner: ArenaOwner) {
    guard let reservation = arena.reserve(byteCount: byteCount, owner: owner) else { return nil }
    room = TierRoom(reservation)
  }
}

@Suite("Reads of the segment log")
struct LogReadTests {
  private func open(_ fixture: LogFixture, _ gate: ReadGate) async throws -> DiskTier {
    var configuration = fixture.configuration
    configuration.readsInFlight = 1
    configuration.queuedReadsMax = 40
    let tier = try DiskTier(
      configuration,
      directories: [
        DiskDirectoryConfiguration(
          directory: try FileDirectory(path: "\(fixture.folder.path)/a"), engine: gate,
          capacityBytes: fixture.capacityBytes)
      ], clock: fixture.clock, wallClock: fixture.wall
    ) { _ in }
    tier.start()
    while !tier.isReady { await Task.yield() }
    return tier
  }

  @Test("of neighbours in a segment the device is asked once")
  func coalesces() async throws {
    let fixture = try LogFixture()
    let gate = try ReadGate()
    let tier = try await open(fixture, gate)
    for number in 0..<30 { try await fixture.write(number, 3_000, to: tier).get() }
    gate.shut()
    await withTaskGroup(of: Bool.self) { group in
      for number in 0..<30 {
        group.addTask { (try? await fixture.read(number, from: tier).isWhole) == true }
      }
      // The first read is under way and the others wait for it.
      while tier.statistics.hits < 30 { await Task.yield() }
      gate.open()
      for await isWhole in group { #expect(isWhole) }
    }
    #expect(gate.works <= 15)
    #expect(tier.statistics.reads == 30)
    await fixture.close(tier)
  }

  @Test("too many of them at once are told to come again, and those that wait are served")
  func refusesTooMany() async throws {
    let fixture = try LogFixture()
    let gate = try ReadGate()
    let tier = try await open(fixture, gate)
    try await fixture.write(1, 3_000, to: tier).get()
    gate.shut()
    let endings = await withTaskGroup(of: TierReading?.self) { group in
      for _ in 0..<60 { group.addTask { try? await fixture.read(1, from: tier) } }
      while tier.statistics.hits < 60 { await Task.yield() }
      gate.open()
      return await group.reduce(into: []) { $0.append($1) }
    }
    // One is under way, forty wait.
    #expect(endings.count { $0?.isWhole == true } == 41)
    #expect(endings.count { $0 == .busy } == 19)
    await fixture.close(tier)
  }

  @Test("room for what a key held before it was stored anew is a miss, written or on its way")
  func missesWhatChanged() async throws {
    let fixture = try LogFixture()
    let gate = try ReadGate()
    let tier = try await open(fixture, gate)
    try await fixture.write(1, 3_000, to: tier).get()
    let reservation = try #require(ReservationBox(fixture.arena, 1_000, fixture.owner))
    let key = try fixture.key(1)
    let reading: TierReading = await withCheckedContinuation { continuation in
      tier.read(key, in: fixture.tenant, into: reservation.room) {
        continuation.resume(returning: $0)
      }
    }
    #expect(reading == .missed(.purged))
    #expect(gate.works == 0 && tier.statistics.hits == 0)
    #expect(try await fixture.read(1, from: tier).isWhole)
    await fixture.close(tier)
  }

  @Test("an object that is still on its way to disk is read from where it is")
  func readsWhatIsBeingWritten() async throws {
    let fixture = try LogFixture()
    let gate = try ReadGate()
    let tier = try await open(fixture, gate)
    gate.shut()
    async let written = fixture.write(1, 200_000, to: tier)
    while tier.find(try fixture.key(1), in: fixture.tenant) == .absent(nil) { await Task.yield() }
    async let reading = fixture.read(1, from: tier)
    gate.open()
    #expect(try await reading.isWhole)
    try await written.get()
    await fixture.close(tier)
  }
}
