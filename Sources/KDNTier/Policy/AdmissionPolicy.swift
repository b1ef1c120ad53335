/// What an admission policy may know of an object that might be written to disk.
package struct AdmissionFacts: Sendable {
  /// Length in bytes.
  package var byteCount: Int
  /// Uses so far; storing is the first.
  package var uses: UInt64
  /// Whether it is pinned, or belongs to a document: then it is written whatever the policy says.
  package var isWanted: Bool

  /// Puts the facts together.
  package init(byteCount: Int, uses: UInt64, isWanted: Bool) {
    self.byteCount = byteCount
    self.uses = uses
    self.isWanted = isWanted
  }
}

/// Decides which objects are written to disk; pure, without clock or I/O.
package protocol AdmissionPolicy: Sendable {
  /// Whether an object is written; always true for one that is wanted.
  func admits(_ facts: AdmissionFacts) -> Bool
}

/// Admits every object.
package struct AdmitAll: AdmissionPolicy {
  /// Creates the policy.
  package init() {}

  package func admits(_ facts: AdmissionFacts) -> Bool { true }
}

/// Admits what was used again after it had been stored.
package struct SecondHit: AdmissionPolicy {
  /// Creates the policy.
  package init() {}

  package func admits(_ facts: AdmissionFacts) -> Bool { facts.isWanted || facts.uses >= 2 }
}

/// Admits only what is pinned or belongs to a document.
package struct OnlyWanted: AdmissionPolicy {
  /// Creates the policy.
  package init() {}

  package func admits(_ facts: AdmissionFacts) -> Bool { facts.isWanted }
}
