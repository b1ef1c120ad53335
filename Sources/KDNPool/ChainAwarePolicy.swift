/// Keeps what is dear to recompute, often used and small; of a chain, the front.
///
/// GreedyDual-Size-Frequency: value = age at last use + uses x recompute time / bytes, where age is
/// the value of the last evicted. Source: Cherkasova, HP Labs HPL-98-69R1 (1998).
package struct ChainAwarePolicy: EvictionPolicy {
  package private(set) var age = 0.0

  /// Prefill of one token where the writer told no time: 10 000 tokens a second.
  package static let microsecondsPerToken = 100.0
  /// The position at which attention over what came before doubles a token's cost.
  package static let positionDoublingCost = 32_768.0
  /// Worth of opaque bytes, near that of a token of 128 KiB.
  package static let microsecondsPerOpaqueByte = 0.001

  /// Creates the policy with age 0.
  package init() {}

  package var keepsParents: Bool { true }

  package func rank(_ facts: EvictionFacts) -> EvictionRank {
    guard !facts.isOrphan else {
      return EvictionRank(value: facts.ageAtLastUse, order: facts.lastUse)
    }
    let worth = Double(facts.uses) * recomputeMicroseconds(facts) / Double(facts.byteCount)
    return EvictionRank(value: facts.ageAtLastUse + worth, order: facts.lastUse)
  }

  package mutating func evicted(_ rank: EvictionRank) {
    age = max(age, rank.value)
  }

  private func recomputeMicroseconds(_ facts: EvictionFacts) -> Double {
    if facts.recomputeMicroseconds > 0 { return Double(facts.recomputeMicroseconds) }
    guard facts.tokenCount > 0 else {
      return Double(facts.byteCount) * Self.microsecondsPerOpaqueByte
    }
    let middle = Double(facts.firstToken) + Double(facts.tokenCount) / 2
    return Double(facts.tokenCount) * Self.microsecondsPerToken
      * (1 + middle / Self.positionDoublingCost)
  }
}

/// Evicts what was used longest ago, blind to chains; for comparison.
package struct LRUPolicy: EvictionPolicy {
  /// Creates the policy.
  package init() {}

  package var age: Double { 0 }
  package var keepsParents: Bool { false }

  package func rank(_ facts: EvictionFacts) -> EvictionRank {
    EvictionRank(value: 0, order: facts.lastUse)
  }

  package mutating func evicted(_ rank: EvictionRank) {}
}
