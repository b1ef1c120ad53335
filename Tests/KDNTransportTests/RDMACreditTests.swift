import KDNCore
import Testing

@testable import KDNTransport

/// Two sides that send each other messages in an order that a seed decides; no device.
private struct CreditedPair {
  struct Side {
    var credit: RDMACredit
    /// Messages that wait to be sent.
    var waiting = 0
    /// Messages on their way to this side: the credits they return, and whether they carry bytes.
    var arriving: [(credits: UInt32, carries: Bool)] = []
    /// Messages with bytes that came and were not consumed.
    var unread = 0
    var consumed = 0
    var sent = 0
  }

  var sides: [Side]

  init(_ first: Int, _ second: Int) {
    sides = [
      Side(credit: RDMACredit(granted: first, announced: second)),
      Side(credit: RDMACredit(granted: second, announced: first)),
    ]
  }

  /// What a side could do now, named so that a seed can choose.
  enum Step: CaseIterable { case sendStream, sendCredits, take, read }

  func isPossible(_ step: Step, on side: Int) -> Bool {
    let state = sides[side]
    return switch step {
    case .sendStream: state.waiting > 0 && state.credit.maySendStream
    case .sendCredits: state.credit.shouldReturn
    case .take: !state.arriving.isEmpty
    case .read: state.unread > 0
    }
  }

  mutating func perform(_ step: Step, on side: Int) throws {
    switch step {
    case .sendStream, .sendCredits:
      let credits = sides[side].credit.send()
      sides[1 - side].arriving.append((credits, step == .sendStream))
      sides[side].sent += 1
      if step == .sendStream { sides[side].waiting -= 1 }
    case .take:
      let message = sides[side].arriving.removeFirst()
      try sides[side].credit.arrived(returning: message.credits)
      if message.carries { sides[side].unread += 1 } else { sides[side].credit.consumed() }
    case .read:
      sides[side].unread -= 1
      sides[side].consumed += 1
      sides[side].credit.consumed()
    }
  }

  /// Goes on until nothing is possible; false if that takes more than `limit` steps.
  mutating func run(_ random: inout SeededRandom, limit: Int) throws -> Bool {
    for _ in 0..<limit {
      let choices = [0, 1].flatMap { side in
        Step.allCases.filter { isPossible($0, on: side) }.map { (side, $0) }
      }
      guard let (side, step) = choices.randomElement(using: &random) else { return true }
      try perform(step, on: side)
    }
    return false
  }
}

private struct SeededRandom: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}

@Suite("RDMA credit")
struct RDMACreditTests {
  @Test(
    "never lets two sides wait for each other, and lets them rest when all is said",
    arguments: [(3, 3), (3, 4), (3, 32), (4, 4), (5, 3), (32, 32)], 0..<40)
  func neverStandsStill(receives: (Int, Int), seed: Int) throws {
    var random = SeededRandom(state: UInt64(seed))
    var pair = CreditedPair(receives.0, receives.1)
    var total = [0, 0]
    for _ in 0..<5 {
      for side in 0..<2 {
        let more = Int.random(in: 0...50, using: &random)
        pair.sides[side].waiting += more
        total[side] += more
      }
      #expect(try pair.run(&random, limit: 20_000), "they go on without end, seed \(seed)")
      for side in 0..<2 {
        #expect(pair.sides[side].waiting == 0, "a side waits for ever, seed \(seed)")
        #expect(pair.sides[1 - side].consumed == total[side])
        #expect(pair.sides[side].credit.maySendStream, "a resting side cannot begin, seed \(seed)")
      }
    }
  }

  @Test("stands still with two receives, which is why a greeting must offer three")
  func needsThreeReceives() {
    #expect(RDMAGreeting.receivesRange.lowerBound == 3)
  }

  @Test("refuses a message for which the other side had no credit", arguments: [3, 4, 32])
  func refusesMoreThanGranted(granted: Int) throws {
    var credit = RDMACredit(granted: granted, announced: 8)
    for _ in 0..<granted { try credit.arrived(returning: 0) }
    #expect(throws: FieldFault.self) { try credit.arrived(returning: 0) }
    credit.consumed()
    #expect(throws: FieldFault.self, "a credit counts once it is sent back") {
      try credit.arrived(returning: 0)
    }
    #expect(credit.send() == 1)
    try credit.arrived(returning: 0)
    #expect(throws: FieldFault.self) { try credit.arrived(returning: 0) }
  }

  @Test("refuses credits that were never taken", arguments: [UInt32(1), 2, .max])
  func refusesCreditsNeverTaken(credits: UInt32) throws {
    var credit = RDMACredit(granted: 8, announced: 8)
    #expect(throws: FieldFault.self) { try credit.arrived(returning: credits) }
    _ = credit.send()
    #expect(throws: FieldFault.self) { try credit.arrived(returning: credits &+ 1 | 2) }
  }

  @Test("keeps one credit for a message that only returns credits")
  func keepsOneCredit() throws {
    var credit = RDMACredit(granted: 3, announced: 3)
    _ = credit.send()
    #expect(credit.maySendStream)
    _ = credit.send()
    #expect(!credit.maySendStream)
    #expect(!credit.shouldReturn)
    for _ in 0..<2 {
      try credit.arrived(returning: 0)
      credit.consumed()
    }
    #expect(credit.shouldReturn)
    #expect(credit.send() == 2)
    #expect(credit.available == 0)
    #expect(!credit.shouldReturn)
  }
}
