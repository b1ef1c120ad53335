import KDNCore
import Testing

@testable import kdn

@Suite struct ProgressBarTests {
  private static let total = 64 << 20
  private static let start = Instant(nanoseconds: 5_000_000_000)

  private static func bar() -> ProgressBar { ProgressBar("put", start: start) }

  @Test("a line tells the share, the bytes and what is left of the time")
  func wholeLine() {
    var bar = Self.bar()
    let line = bar.line(
      done: Self.total / 4, of: Self.total, now: Self.start.advanced(milliseconds: 2000))
    #expect(line == "put [######..................]  25 %  16.0 MiB of 64.0 MiB  6 s left")
  }

  @Test("long waits are told in minutes")
  func minutes() {
    var bar = Self.bar()
    let line = bar.line(
      done: Self.total / 4, of: Self.total, now: Self.start.advanced(milliseconds: 60_000))
    #expect(line?.hasSuffix("  3 min 0 s left") == true)
  }

  @Test("in the first second nothing is said of what is left")
  func tooEarly() {
    var bar = Self.bar()
    let line = bar.line(
      done: Self.total / 2, of: Self.total, now: Self.start.advanced(milliseconds: 500))
    #expect(line == "put [############............]  50 %  32.0 MiB of 64.0 MiB")
  }

  @Test("lines come no faster than ten a second, but the end is always told")
  func rate() {
    var bar = Self.bar()
    let shown = (1...64).compactMap { step in
      bar.line(
        done: step << 20, of: Self.total,
        now: Self.start.advanced(milliseconds: UInt64(step) * 10))
    }
    #expect(shown.count == 8)
    #expect(shown.last?.contains("100 %") == true)
  }

  @Test("work of a few mebibytes has no bar", arguments: [0, 1, ProgressBar.totalBytesMin - 1])
  func small(total: Int) {
    var bar = Self.bar()
    #expect(bar.line(done: total, of: total, now: Self.start) == nil)
  }

  @Test("a report beyond the total is drawn as the total", arguments: [-1, 0, 1, 100])
  func beyond(excess: Int) {
    var bar = Self.bar()
    let line = bar.line(done: Self.total + excess, of: Self.total, now: Self.start)
    let percent = excess < 0 ? " 99 %" : "100 %"
    #expect(line?.contains(percent) == true)
  }
}
