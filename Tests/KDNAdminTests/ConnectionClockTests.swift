import KDNCore
import Testing

@testable import KDNAdmin

@Suite struct ConnectionClockTests {
  private let clock = ManualClock()

  private func makeClock() -> ConnectionClock {
    ConnectionClock(idleMilliseconds: 60_000, requestMilliseconds: 10_000, now: clock.now())
  }

  private func left(_ times: ConnectionClock) -> UInt64? {
    times.deadline.map { clock.now().milliseconds(until: $0) }
  }

  @Test func laterBytesDoNotMoveTheDeadlineOfARequest() {
    var times = makeClock()
    #expect(left(times) == 60_000)
    times.bytesArrived(now: clock.now())
    #expect(left(times) == 10_000)
    clock.advance(milliseconds: 9_000)
    times.bytesArrived(now: clock.now())
    #expect(left(times) == 1_000)
    #expect(times.phase == .receiving)
  }

  @Test func anAnswerTakesAsLongAsItTakes() {
    var times = makeClock()
    times.bytesArrived(now: clock.now())
    times.requestCompleted()
    #expect(left(times) == nil)
    times.answered(now: clock.now())
    #expect(times.phase == .idle && left(times) == 60_000)
  }

  @Test func bytesThatComeDuringAnAnswerBeginTheNextRequest() {
    var times = makeClock()
    times.requestCompleted()
    times.bytesArrived(now: clock.now())
    times.answered(now: clock.now())
    #expect(times.phase == .receiving && left(times) == 10_000)
  }

  @Test func whoReadsNothingIsGivenAsLongAsARequest() {
    var times = makeClock()
    times.requestCompleted()
    times.streamBegan()
    times.writabilityChanged(isWritable: false, now: clock.now())
    #expect(times.phase == .streaming && left(times) == 10_000)
    times.writabilityChanged(isWritable: true, now: clock.now())
    #expect(left(times) == nil)
  }

  @Test func afterTheLastAnswerNothingBeginsAnew() {
    var times = makeClock()
    times.lingerBegan(now: clock.now())
    times.bytesArrived(now: clock.now())
    times.requestCompleted()
    times.answered(now: clock.now())
    #expect(times.phase == .lingering && left(times) == ConnectionClock.lingerMilliseconds)
  }
}
