import KDNCore
import Testing

@testable import KDNTier

/// Notes the order in which writes are begun and group commits are over, file by file.
final class RecordingEngine: DiskEngine {
  enum Step: Equatable {
    case header, otherWrite, synchronised
  }

  let engine: any DiskEngine
  let steps = Guarded<[String: [Step]]>([:])

  init(_ engine: any DiskEngine) { self.engine = engine }

  var name: String { engine.name }

  func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) {
    switch work {
    case .write(let file, let offset, _): note(offset == 0 ? .header : .otherWrite, file.name)
    default: break
    }
    engine.submit(work) { [self] result in
      if case .synchronise(let file) = work { note(.synchronised, file.name) }
      completion(result)
    }
  }

  func shutDown() { engine.shutDown() }

  private func note(_ step: Step, _ file: String) {
    steps.withLock { $0[file, default: []].append(step) }
  }
}

@Suite("A segment that is used again")
struct ReuseTests {
  @Test("takes no record before its new header is durable: the old footer would vouch for it")
  func awaitsHeader() async throws {
    let fixture = try LogFixture()
    fixture.capacityBytes = 6 << 20
    let engine = RecordingEngine(
      try ThreadEngine(readers: 2, writers: 2, others: 1, label: "log"))
    let directory = DiskDirectoryConfiguration(
      directory: try FileDirectory(path: "\(fixture.folder.path)/a"), engine: engine,
      capacityBytes: fixture.capacityBytes)
    let tier = try DiskTier(
      fixture.configuration, directories: [directory], clock: fixture.clock,
      wallClock: fixture.wall
    ) { _ in }
    tier.start()
    while !tier.isReady { await Task.yield() }
    for number in 0..<60 {
      try await fixture.write(number, 300_000, to: tier, isDurable: false).get()
    }
    await fixture.close(tier)

    let files = engine.steps.withLock { $0 }.filter { $0.key.hasPrefix("segment") }.values
    let later = files.flatMap { Array($0.split(separator: .header)).dropFirst() }
    #expect(later.count > 3)
    #expect(later.allSatisfy { $0.first == .synchronised })
  }

  @Test("is the oldest after a restart too, whatever pins that are over say")
  func oldestGoesFirst() async throws {
    let fixture = try LogFixture()
    // Room for all pins: what is compacted remembers none that are over.
    fixture.configuration.journalBytes = 1 << 20
    let first = try await fixture.open()
    for number in 0..<90 {
      try await fixture.write(number, 300_000, to: first).get()
      guard number < 84 else { continue }
      let key = try fixture.key(number)
      #expect(first.pin([key], in: fixture.tenant, milliseconds: 10) == .success([true]))
      fixture.wall.set(milliseconds: fixture.wall.milliseconds() + 11)
      first.tick(now: fixture.clock.now())
    }
    await fixture.close(first)

    let second = try await fixture.open()
    while second.statistics.reclaimedSegments == 0 { await Task.yield() }
    second.tick(now: fixture.clock.now())
    // Two segments' worth, so that room had to be made before.
    for number in 90..<96 { try await fixture.write(number, 300_000, to: second).get() }
    for number in 84..<96 { #expect(try await fixture.read(number, from: second).isWhole) }
    await fixture.close(second)
  }
}
