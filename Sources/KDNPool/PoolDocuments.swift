package import KDNCore

/// The documents of all namespaces of a pool.
final class DocumentBook: Sendable {
  private let tables = Guarded<[UInt32: DocumentTable]>([:])

  /// Lends the table of a namespace; what it drops must be returned, to go after the lock.
  func withTable<Result>(
    of namespace: Namespace, _ body: (inout DocumentTable) -> sending Result
  ) -> sending Result {
    tables.withLock { body(&$0[namespace.number, default: DocumentTable()]) }
  }
}

extension Pool {
  /// Makes a name stand for a text, in place of what it stood for.
  ///
  /// The name lives as long as the process does; the chunks are kept and lost like all others.
  /// - Throws: `notFound` naming `layout` if it is not registered, `limit` beyond
  ///   `documentsPerNamespaceMax`, `busy` if there is no memory for the names.
  package func publish(
    _ document: Document, in namespace: Namespace
  ) throws(PoolRefusal) -> PublishedDocument {
    guard namespace.geometry(of: document.layout) != nil else {
      throw .notFound(what: "layout", number: 0)
    }
    guard let charge = IndexCharge(document.byteCount, to: budget) else {
      throw .busy(retryAfterMilliseconds: 1000)
    }
    let limit = configuration.documentsPerNamespaceMax
    var slot = Optional(charge)
    let answer = documents.withTable(of: namespace) { table -> PublishAnswer? in
      guard table.count < limit || table.contains(document.name), let charge = slot.take() else {
        return nil
      }
      let (published, replaced) = table.publish(document, charge: charge)
      return PublishAnswer(published: published, replaced: replaced)
    }
    guard let answer else {
      throw .limit(FieldFault("documents", value: limit, limit: limit, "too many documents"))
    }
    return answer.published
  }

  /// What a name stands for, and how many leading chunks of it some tier has; nil if it stands for
  /// nothing.
  package func resolve(
    document name: String, in namespace: Namespace
  ) -> (document: PublishedDocument, presentChunks: Int)? {
    let found = documents.withTable(of: namespace) { $0.find(name) }
    guard let found else { return nil }
    return (found, presentChunks(of: found.document, in: namespace))
  }

  /// Documents behind a name in the order of the names' bytes, at most `limit`.
  package func documents(
    after name: String, limit: Int, in namespace: Namespace
  ) -> [PublishedDocument] {
    documents.withTable(of: namespace) { $0.list(after: name, limit: limit) }
  }

  /// Forgets a name; its chunks stay.
  ///
  /// - Returns: nil if it stood for nothing.
  package func retire(document name: String, in namespace: Namespace) -> PublishedDocument? {
    documents.withTable(of: namespace) { $0.retire(name) }
  }

  /// Forgets all names of a namespace.
  func forgetDocuments(of namespace: Namespace) {
    // Dropped here, after the lock.
    _ = documents.withTable(of: namespace) { $0.removeAll() }
  }

  /// How many leading chunks of a document are in some tier, in whatever parts.
  package func presentChunks(of document: Document, in namespace: Namespace) -> Int {
    let present = Set(
      keys(of: document.hashes, in: namespace).filter { $0.layout == document.layout }.map(\.hash))
    return document.hashes.prefix { present.contains($0) }.count
  }

  private struct PublishAnswer {
    let published: PublishedDocument
    let replaced: PublishedDocument?
  }
}
