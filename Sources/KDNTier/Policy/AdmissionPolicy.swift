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
