import KDNCore
import KDNTransport
import Testing

@testable import KDNServer

@Suite("The limiter of attempts")
struct AttemptLimiterTests {
  private let start = Instant(nanoseconds: 5_000_000_000)
  private let somebody = PeerAddress.ipv4(0x7F00_0001)

  private func milliseconds(_ answer: Instant?) -> UInt64? {
    answer.map { start.milliseconds(until: $0) }
  }

  @Test("answers the first twenty after the same delay, then ten a second")
  func spacing() {
    var limiter = AttemptLimiter()
    let answers = (0..<30).map { _ in
      milliseconds(limiter.refused(somebody, now: start, deadline: .never))
    }
    #expect(answers.prefix(20).allSatisfy { $0 == 100 })
    #expect(answers.suffix(10).compactMap { $0 } == (2...11).map { UInt64($0) * 100 })
  }

  @Test("whoever pauses has the burst again, as far as the pause goes", arguments: [1, 7, 20, 50])
  func recovery(tenths: Int) {
    var limiter = AttemptLimiter()
    for _ in 0..<20 { _ = limiter.refused(somebody, now: start, deadline: .never) }
    let later = start.advanced(milliseconds: UInt64(tenths) * 100)
    let prompt = (0..<60).filter { _ in
      limiter.refused(somebody, now: later, deadline: .never)
        == later.advanced(milliseconds: 100)
    }
    #expect(prompt.count == min(tenths, 20))
  }

  @Test("beyond the deadline there is no answer, and that attempt delays no later one")
  func deadline() {
    var limiter = AttemptLimiter()
    let deadline = start.advanced(milliseconds: 500)
    for _ in 0..<24 {
      #expect(limiter.refused(somebody, now: start, deadline: deadline) != nil)
    }
    for _ in 0..<1000 {
      #expect(limiter.refused(somebody, now: start, deadline: deadline) == nil)
    }
    let later = start.advanced(milliseconds: 100)
    let answer = limiter.refused(
      somebody, now: later, deadline: later.advanced(milliseconds: 500))
    #expect(answer == later.advanced(milliseconds: 500))
  }

  @Test("addresses do not wait for each other")
  func addresses() {
    var limiter = AttemptLimiter()
    for _ in 0..<100 { _ = limiter.refused(somebody, now: start, deadline: .never) }
    for other in [PeerAddress.ipv4(0x7F00_0002), .ipv6Prefix(1), .user(0), .unknown] {
      #expect(milliseconds(limiter.refused(other, now: start, deadline: .never)) == 100)
    }
  }

  @Test("it remembers a bounded number of addresses and forgets the oldest")
  func bounded() {
    var limiter = AttemptLimiter()
    for _ in 0..<30 { _ = limiter.refused(somebody, now: start, deadline: .never) }
    for number in 1..<AttemptLimiter.addressesMax {
      _ = limiter.refused(.ipv6Prefix(UInt64(number)), now: start, deadline: .never)
    }
    #expect(limiter.addressCount == AttemptLimiter.addressesMax)
    let held = limiter.refused(somebody, now: start, deadline: .never)
    #expect(milliseconds(held) == 1200, "still remembered")
    for number in 1...3 * AttemptLimiter.addressesMax {
      _ = limiter.refused(.ipv4(UInt32(number)), now: start, deadline: .never)
      #expect(limiter.addressCount == AttemptLimiter.addressesMax)
    }
    #expect(milliseconds(limiter.refused(somebody, now: start, deadline: .never)) == 100)
  }

  @Test("no answer is sooner than the delay, none of an address overtakes, and the rate holds")
  func properties() {
    for seed in UInt64(1)...50 {
      var random = SeededGenerator(seed: seed)
      var limiter = AttemptLimiter()
      var now = start
      var answers: [Instant] = []
      for _ in 0..<500 {
        now = now.advanced(milliseconds: UInt64.random(in: 0...150, using: &random))
        let deadline = now.advanced(milliseconds: UInt64.random(in: 0...5000, using: &random))
        guard let answer = limiter.refused(somebody, now: now, deadline: deadline) else { continue }
        #expect(answer >= now.advanced(milliseconds: 100) && answer <= deadline)
        #expect(answers.last.map { $0 <= answer } ?? true)
        answers.append(answer)
      }
      for (index, answer) in answers.enumerated().dropFirst(AttemptLimiter.burst) {
        let before = answers[index - AttemptLimiter.burst]
        #expect(answer >= before.advanced(milliseconds: 100), "seed \(seed)")
      }
    }
  }
}
