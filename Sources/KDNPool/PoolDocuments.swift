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

  /// Parts of one document that are looked for in the slower tier.
  private static var partsMax: Int { 16 }

  /// How many leading chunks of a document are in RAM, in whatever parts, or in the slower tier,
  /// whole or in a part that RAM has of a chunk before.
  ///
  /// Looks up what it names and walks over nothing: clients ask for it on a data loop.
  package func presentChunks(of document: Document, in namespace: Namespace) -> Int {
    var parts = Set([namespace.geometry(of: document.layout)?.whole].compactMap { $0 })
    let now = clock.now()
    return document.hashes.prefix { hash in
      let place = ChunkPlace(hash, in: namespace.number)
      let found = stripe(of: place).withLock { $0.table.all(at: place) }
        .filter { $0.key.layout == document.layout && $0.isLive(at: now) }
      guard found.isEmpty else {
        for object in found where parts.count < Self.partsMax { parts.insert(object.key.part) }
        return true
      }
      return parts.contains { part in
        let key = ObjectKey(hash: hash, layout: document.layout, part: part, variant: 0)
        return backing?.held(key, in: namespace) != nil
      }
    }.count
  }

  private struct PublishAnswer {
    let published: PublishedDocument
    let replaced: PublishedDocument?
  }
}
