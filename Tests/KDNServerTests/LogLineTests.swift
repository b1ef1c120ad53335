import Foundation
import KDNCore
import Testing

@testable import KDNServer

@Suite("A log line")
struct LogLineTests {
  @Test("in logfmt quotes only what needs it")
  func logfmt() {
    let line = LogLine(format: .logfmt, priority: nil).render([
      ("msg", "ready"), ("why", "two words"), ("q", "a\"b"), ("empty", ""), ("nl", "a\nb"),
      ("eq", "a=b"),
    ])
    #expect(
      line == #"msg=ready why="two words" q="a\"b" empty="" nl="a\nb" eq="a=b""# + "\n")
  }

  @Test("in JSON is one object whatever the values hold")
  func json() throws {
    let nasty = "\u{0}\u{1F}\u{7F}\"\\/\n\r\té\u{1F600}"
    let line = LogLine(format: .json, priority: nil).render([("msg", nasty), ("n", "1")])
    #expect(line.filter { $0 == "\n" }.count == 1)
    let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
    #expect(object == ["msg": nasty, "n": "1"])
  }

  @Test("carries the journal's priority in front if asked", arguments: [0, 3, 7])
  func priority(level: Int) {
    let line = LogLine(format: .logfmt, priority: level).render([("msg", "x")])
    #expect(line == "<\(level)>msg=x\n")
  }
}

@Suite("The send rate")
struct SendRateTests {
  private func at(_ milliseconds: UInt64) -> Instant {
    Instant(nanoseconds: 1_000_000_000).advanced(milliseconds: milliseconds)
  }

  @Test("is unknown until a burst of some length has been sent")
  func unknown() {
    var rate = SendRate()
    rate.busy(sent: 0, now: at(0))
    rate.idle(sent: 1 << 20, now: at(1))
    #expect(rate.microseconds(for: 1 << 20) == 0)
  }

  @Test("is bytes over the time during which some waited")
  func measures() {
    var rate = SendRate()
    rate.busy(sent: 0, now: at(0))
    rate.busy(sent: 4 << 20, now: at(5))
    rate.idle(sent: 8 << 20, now: at(10))
    #expect(rate.microseconds(for: 8 << 20) == 10_000)
    rate.idle(sent: 8 << 20, now: at(500))
    #expect(rate.microseconds(for: 16 << 20) == 20_000)
  }
}
