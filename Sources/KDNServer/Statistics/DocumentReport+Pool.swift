internal import KDNControl
internal import KDNPool

extension DocumentReport {
  /// What a pool knows by name.
  init(_ pool: Pool) {
    let counts = pool.documentCounts
    self.init(documents: counts.documents, edits: counts.edits)
  }
}
