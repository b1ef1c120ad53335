import Dispatch
import KDNControl
import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("Readiness")
struct ControlReadinessTests {
  private var healthy: ReadinessFacts {
    ReadinessFacts(
      listeners: ["tcp 127.0.0.1:1"], loopSilence: [0, 12], freeBytes: 1 << 20,
      evictableObjects: 3)
  }

  /// The names of checks that failed.
  private func failed(_ facts: ReadinessFacts) -> [String] {
    let report = facts.report
    let failed = report.checks.filter { !$0.isOK }.map(\.name)
    #expect(report.isReady == failed.isEmpty)
    return failed
  }

  @Test("is given while nothing stands in the way; without a disk nothing is said of one")
  func ready() {
    #expect(failed(healthy).isEmpty)
    #expect(healthy.report.checks.map(\.name) == ["draining", "listeners", "loops", "memory"])
  }

  @Test("ends with the first word of a drain")
  func draining() {
    var facts = healthy
    facts.isDraining = true
    #expect(failed(facts) == ["draining", "listeners"])
  }

  @Test("needs somebody to listen")
  func listeners() {
    var facts = healthy
    facts.listeners = []
    #expect(failed(facts) == ["listeners"])
  }

  @Test("needs every loop to answer", arguments: [(5000, true), (5001, false)] as [(UInt64, Bool)])
  func loops(silence: UInt64, isOK: Bool) {
    var facts = healthy
    facts.loopSilence = [0, silence]
    #expect(failed(facts) == (isOK ? [] : ["loops"]))
  }

  @Test("is not lost by being full, only by being full of what cannot go")
  func memory() {
    var facts = healthy
    facts.freeBytes = 0
    #expect(failed(facts).isEmpty)
    facts.evictableObjects = 0
    facts.reservations = 2
    #expect(failed(facts) == ["memory"])
    facts.freeBytes = ReadinessFacts.roomBytesMin
    #expect(failed(facts).isEmpty)
  }

  @Test("outlives a failed directory, but not the last")
  func directories() {
    var facts = healthy
    facts.disk = ReadinessFacts.Disk(paths: ["/0", "/1"], failed: ["/1"])
    #expect(failed(facts).isEmpty)
    #expect(facts.report.checks.contains { $0.name == "disk" && $0.detail.contains("/1") })
    facts.disk = ReadinessFacts.Disk(paths: ["/0", "/1"], failed: ["/0", "/1"])
    #expect(failed(facts) == ["disk"])
  }

  @Test("is given while the disk is being recovered, and says so")
  func recovery() throws {
    var facts = healthy
    facts.disk = ReadinessFacts.Disk(paths: ["/0"], isRecovered: false)
    #expect(failed(facts).isEmpty)
    let check = try #require(facts.report.checks.first { $0.name == "recovery" })
    #expect(check.detail.contains("still"))
  }
}

@Suite("The pulse of the loops")
struct LoopPulseTests {
  @Test("is silent only for loops that do not answer, and none is asked twice at once")
  func silence() throws {
    let clock = ManualClock()
    let loops = [try Loop(label: "test.0"), try Loop(label: "test.1")]
    let pulse = LoopPulse(loops: loops, clock: clock)
    #expect(pulse.silence == [0, 0])
    let held = DispatchSemaphore(value: 0)
    let free = DispatchSemaphore(value: 0)
    loops[0].post { _ in
      held.signal()
      free.wait()
    }
    held.wait()
    pulse.beat()
    waitForAnswer(of: loops[1])
    clock.advance(milliseconds: 40)
    pulse.beat()
    waitForAnswer(of: loops[1])
    clock.advance(milliseconds: 2)
    #expect(pulse.silence == [42, 0])
    free.signal()
    waitForAnswer(of: loops[0])
    #expect(pulse.silence == [0, 0])
  }

  /// Comes back once the loop has done all that was posted before.
  private func waitForAnswer(of loop: Loop) {
    let done = DispatchSemaphore(value: 0)
    loop.post { _ in done.signal() }
    done.wait()
  }
}
