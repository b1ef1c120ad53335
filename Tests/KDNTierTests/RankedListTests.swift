import Testing

@testable import KDNTier

@Suite("A ranked list")
struct RankedListTests {
  private struct Number: Ranked {
    let rank: Int
  }

  private func ranks(_ list: RankedList<Number>, after rank: Int? = nil) -> [Int] {
    var ranks: [Int] = []
    list.visit(after: rank) {
      ranks.append($0.rank)
      return true
    }
    return ranks
  }

  @Test("has what was put in and not taken out, in order, whatever came when", arguments: 1...8)
  func isLikeASortedArray(seed: Int) {
    var random = SplitMix(state: UInt64(seed))
    var list = RankedList<Number>()
    var expected: Set<Int> = []
    for step in 0..<4000 {
      // Grows at first, then shrinks to nothing.
      let isPut = Int.random(in: 0..<4000, using: &random) > step
      if isPut {
        let isLast = Bool.random(using: &random)
        let rank = isLast ? 10_000 + step : Int.random(in: 0..<9000, using: &random)
        guard expected.insert(rank).inserted else { continue }
        list.insert(Number(rank: rank))
      } else if let rank = expected.randomElement(using: &random) {
        expected.remove(rank)
        list.remove(rank)
      }
      guard step % 97 == 0 else { continue }
      let sorted = expected.sorted()
      #expect(ranks(list) == sorted && list.count == sorted.count)
      #expect(list.first?.rank == sorted.first)
      let after = Int.random(in: -10..<15_000, using: &random)
      #expect(ranks(list, after: after) == sorted.filter { $0 > after })
      #expect((list[after] != nil) == expected.contains(after))
    }
    for rank in expected { list.remove(rank) }
    #expect(list.count == 0 && list.first == nil && ranks(list, after: 3) == [])
  }

  @Test("a visit ends when it is told to")
  func visitEnds() {
    var list = RankedList<Number>()
    for rank in 0..<1000 { list.insert(Number(rank: rank)) }
    var seen: [Int] = []
    list.visit(after: 500) {
      seen.append($0.rank)
      return seen.count < 3
    }
    #expect(seen == [501, 502, 503])
  }
}
