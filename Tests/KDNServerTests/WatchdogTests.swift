import Dispatch
import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("The watchdog")
struct WatchdogTests {
  /// Counts, and lets somebody wait for a count.
  private final class Tally: Sendable {
    private let count = Guarded(0)
    private let changed = DispatchSemaphore(value: 0)

    var value: Int { count.withLock { $0 } }

    func add() {
      count.withLock { $0 += 1 }
      changed.signal()
    }

    func wait() { changed.wait() }
  }

  @Test("hears that the daemon lives when all loops have answered, and not before")
  func starves() throws {
    let loops = try (0..<2).map { try Loop(label: "test.\($0)") }
    let alive = Tally()
    let watchdog = Watchdog(ping: { Server.ask(loops, $0) }, alive: { alive.add() })
    watchdog.beat()
    alive.wait()
    #expect(alive.value == 1)

    let (held, release) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    loops[1].post { _ in
      held.signal()
      release.wait()
    }
    held.wait()
    for _ in 0..<5 { watchdog.beat() }
    // The other loop still answers, which is not enough.
    let answered = DispatchSemaphore(value: 0)
    loops[0].post { _ in answered.signal() }
    answered.wait()
    #expect(alive.value == 1, "a loop is stuck")

    release.signal()
    alive.wait()
    #expect(alive.value == 2, "five beats asked once")
    watchdog.beat()
    alive.wait()
    #expect(alive.value == 3)
  }

  @Test("asks by itself while it runs")
  func runs() throws {
    let loop = try Loop(label: "test")
    let alive = Tally()
    let watchdog = Watchdog(ping: { Server.ask([loop], $0) }, alive: { alive.add() })
    watchdog.start(microseconds: 2000)
    for _ in 0..<3 { alive.wait() }
    watchdog.stop()
    #expect(alive.value >= 3)
  }
}
