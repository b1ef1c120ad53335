import KDNCore
import Testing

@testable import KDNTier

@Suite("What of the oldest segment survives")
struct PolicyReclaimTests {
  private static let policies: [any ReclaimPolicy] = [ReinsertionPolicy(), FIFOPolicy()]

  @Test("what is pinned or held survives even without room", arguments: 0..<policies.count)
  func bound(_ policy: Int) {
    let records = [
      ReclaimFacts(byteCount: 100, isPinned: true), ReclaimFacts(byteCount: 100),
      ReclaimFacts(byteCount: 100, isHeld: true),
    ]
    #expect(Self.policies[policy].survivors(of: records, bytesMax: 0) == [true, false, true])
  }

  @Test("nothing survives of nothing", arguments: 0..<policies.count)
  func empty(_ policy: Int) {
    #expect(Self.policies[policy].survivors(of: [], bytesMax: 100).isEmpty)
  }

  @Test("first in, first out keeps nothing else, however hot")
  func plain() {
    let records = [ReclaimFacts(byteCount: 1, uses: .max, children: 9)]
    #expect(FIFOPolicy().survivors(of: records, bytesMax: 100) == [false])
  }

  @Test("one use makes hot, two children make shared, less does not")
  func thresholds() {
    let records = [
      ReclaimFacts(byteCount: 1), ReclaimFacts(byteCount: 1, uses: 1),
      ReclaimFacts(byteCount: 1, children: 1), ReclaimFacts(byteCount: 1, children: 2),
    ]
    let expected = [false, true, false, true]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 100) == expected)
  }

  @Test("an orphan goes, however hot or shared, unless it is pinned or held")
  func orphans() {
    let records = [
      ReclaimFacts(byteCount: 1, uses: 9, children: 9, isOrphan: true),
      ReclaimFacts(byteCount: 1, isPinned: true, isOrphan: true),
      ReclaimFacts(byteCount: 1, isHeld: true, isOrphan: true), ReclaimFacts(byteCount: 1, uses: 1),
    ]
    let expected = [false, true, true, true]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 100) == expected)
  }

  @Test("what builds on a record that goes goes with it, at any distance and in any order")
  func cutChains() {
    let cold = ReclaimFacts(byteCount: 1, firstToken: 0)
    func hot(_ parent: Int, at token: Int) -> ReclaimFacts {
      ReclaimFacts(byteCount: 1, uses: 5, parent: parent, firstToken: token)
    }
    let records = [hot(3, at: 2), cold, hot(0, at: 3), hot(1, at: 1)]
    let none = [false, false, false, false]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 100) == none)
    var whole = records
    whole[1].uses = 1
    let all = [true, true, true, true]
    #expect(ReinsertionPolicy().survivors(of: whole, bytesMax: 100) == all)
    whole[1].isOrphan = true
    #expect(ReinsertionPolicy().survivors(of: whole, bytesMax: 100) == none)
    whole[1].isPinned = true
    let pinned = [false, true, false, false]
    #expect(ReinsertionPolicy().survivors(of: whole, bytesMax: 100) == pinned)
  }

  @Test("a chain that has no room whole keeps its front, even where its end was used more")
  func shortenedChain() {
    let records = [
      ReclaimFacts(byteCount: 10, uses: 9, parent: 1, firstToken: 2),
      ReclaimFacts(byteCount: 10, uses: 8, parent: 2, firstToken: 1),
      ReclaimFacts(byteCount: 10, uses: 1, firstToken: 0),
    ]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 10) == [false, false, true])
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 20) == [false, true, true])
  }

  @Test("what builds on a record that is too large for the room goes with it")
  func parentWithoutRoom() {
    let records = [
      ReclaimFacts(byteCount: 50, uses: 9, firstToken: 0),
      ReclaimFacts(byteCount: 10, uses: 9, parent: 0, firstToken: 1),
      ReclaimFacts(byteCount: 10, uses: 1, firstToken: 0),
    ]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 30) == [false, false, true])
  }

  @Test("facts that make no chain end in nothing kept, not in a loop")
  func noChain() {
    let ring = [1, 2, 0].map { ReclaimFacts(byteCount: 1, uses: 1, parent: $0, firstToken: 7) }
    let backwards = [
      ReclaimFacts(byteCount: 1, uses: 1, parent: 1, firstToken: 0),
      ReclaimFacts(byteCount: 1, uses: 1, firstToken: 9),
    ]
    #expect(ReinsertionPolicy().survivors(of: ring, bytesMax: 100) == [false, false, false])
    #expect(ReinsertionPolicy().survivors(of: backwards, bytesMax: 100) == [false, true])
  }

  @Test("where room is short, more uses go before fewer, wherever they lie in the log")
  func order() {
    let records = [1, 3, 2].map { ReclaimFacts(byteCount: 10, uses: $0) }
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 20) == [false, true, true])
  }

  @Test("among equally used ones the front of a chain goes before its end")
  func fronts() {
    let records = [512, 0, 256].map { ReclaimFacts(byteCount: 10, uses: 1, firstToken: $0) }
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 20) == [false, true, true])
  }

  @Test("of equals, those written first go first")
  func equals() {
    let records = Array(repeating: ReclaimFacts(byteCount: 10, uses: 1), count: 4)
    let expected = [true, true, false, false]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 29) == expected)
  }

  @Test("what is bound uses up room for the others")
  func boundTakesRoom() {
    let records = [
      ReclaimFacts(byteCount: 10, uses: 1), ReclaimFacts(byteCount: 15, isPinned: true),
    ]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 24) == [false, true])
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 25) == [true, true])
  }

  @Test("a large record that has no room leaves it to smaller ones")
  func largeOnes() {
    let records = [
      ReclaimFacts(byteCount: 30, uses: 9), ReclaimFacts(byteCount: 10, uses: 1),
    ]
    #expect(ReinsertionPolicy().survivors(of: records, bytesMax: 20) == [false, true])
  }

  @Test("what survives unbound never exceeds the room", arguments: 0..<50)
  func room(seed: UInt64) {
    var random = seed
    func next(below limit: UInt64) -> Int {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((random >> 33) % limit)
    }
    let records = (0..<next(below: 60)).map {
      ReclaimFacts(
        byteCount: 1 + next(below: 100), uses: UInt32(next(below: 4)),
        isPinned: next(below: 20) == 0, isHeld: next(below: 20) == 0, children: next(below: 4),
        parent: $0 == 0 || next(below: 2) == 0 ? nil : next(below: UInt64($0)),
        firstToken: $0)
    }
    let bytesMax = next(below: 2_000)
    let survives = ReinsertionPolicy().survivors(of: records, bytesMax: bytesMax)
    #expect(survives.count == records.count)
    let kept = zip(records, survives).filter(\.1).map(\.0)
    let bound = records.filter(\.isBound).map(\.byteCount).reduce(0, +)
    let isOnlyBound = kept.allSatisfy(\.isBound)
    #expect(kept.map(\.byteCount).reduce(0, +) <= max(bytesMax, bound))
    #expect(bound <= bytesMax || isOnlyBound)
    for (record, isKept) in zip(records, survives) {
      #expect(isKept || !record.isBound)
      if isKept, !record.isBound, let parent = record.parent { #expect(survives[parent]) }
    }
  }
}
