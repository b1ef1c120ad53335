import KDNControl
import Testing

@testable import KDNServer

@Suite("The log of slow requests")
struct SlowLogTests {
  private func request(_ number: Int) -> SlowRequest {
    SlowRequest(
      operation: "GET", namespace: "default", connection: UInt64(number), unixMilliseconds: 0,
      items: 1, bytes: 1, status: "ok", totalMicroseconds: 1, waitMicroseconds: 0,
      diskMicroseconds: 0)
  }

  @Test("what takes longer than the threshold is slow; the threshold may change; 0 is for nothing")
  func threshold() {
    let log = SlowLog(thresholdMilliseconds: 100)
    #expect(!log.isSlow(nanoseconds: 100_000_000))
    #expect(log.isSlow(nanoseconds: 100_000_001))
    log.setThreshold(milliseconds: 1)
    #expect(log.isSlow(nanoseconds: 1_000_001))
    log.setThreshold(milliseconds: 0)
    #expect(!log.isSlow(nanoseconds: .max))
  }

  @Test("the newest come first, and only so many are kept", arguments: [0, 1, 127, 128, 129, 1000])
  func bounded(count: Int) {
    let log = SlowLog(thresholdMilliseconds: 1)
    for number in 0..<count { log.note(request(number)) }
    let kept = log.entries.map { Int($0.connection) }
    #expect(kept == (0..<count).reversed().prefix(SlowLog.capacity).map { $0 })
  }
}
