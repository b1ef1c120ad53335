/// What a policy knows of an object.
package struct EvictionFacts: Sendable {
  /// Length in bytes, more than 0.
  package let byteCount: Int
  /// How many tokens; 0 for an opaque object.
  package let tokenCount: Int
  /// Position of the first token in its chain.
  package let firstToken: Int
  /// What it cost to compute; 0 if unknown.
  package let recomputeMicroseconds: UInt64
  /// How often it was used, its publication included.
  package let uses: UInt64
  /// The number of its last use among all uses in the pool; no two objects share one.
  package let lastUse: UInt64
  /// The policy's age for its tenant when it was last used.
  package let ageAtLastUse: Double
  /// Whether it is worth nothing by itself: a chunk before it is gone, so that no prefix reaches
  /// it, or it was put together here from others.
  package let isOrphan: Bool
}

/// A place in the order of eviction: the least goes first.
package struct EvictionRank: Comparable, Sendable {
  /// What the object is worth.
  package let value: Double
  /// Orders objects of equal value; no two objects share one.
  package let order: UInt64

  /// Creates a rank.
  package init(value: Double, order: UInt64) {
    self.value = value
    self.order = order
  }

  package static func < (left: EvictionRank, right: EvictionRank) -> Bool {
    left.value == right.value ? left.order < right.order : left.value < right.value
  }
}

/// Decides what makes room first; pure, without clock or I/O, so that a model can foretell it.
package protocol EvictionPolicy: Sendable {
  /// Grows as the pool turns over; noted on an object at each use.
  var age: Double { get }
  /// Whether a chunk stays while one that builds on it is here.
  var keepsParents: Bool { get }
  /// The rank of an object; it must not fall by a use, nor by the passing of age.
  func rank(_ facts: EvictionFacts) -> EvictionRank
  /// Hears that an object of `rank` was evicted.
  mutating func evicted(_ rank: EvictionRank)
}
