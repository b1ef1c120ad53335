package import KDNCore
internal import KDNTier

extension Pool {
  /// Makes a name stand for a text, in place of what it stood for; it has no edits then.
  ///
  /// The chunks are kept and lost like all others. `completion` is called once: before this returns
  /// if nothing is kept of documents, else when no crash can undo it, on any thread; until then
  /// the name stands for what it stood for.
  /// Fails with `notFound` naming `layout` if it is not registered, `limit` beyond
  /// `documentsPerNamespaceMax` or what is kept on disk, `busy` if there is no memory for the names
  /// or too many changes wait, `unavailable` if no directory can be written.
  package func publish(
    _ document: Document, in namespace: Namespace,
    completion: @escaping @Sendable (Result<PublishedDocument, PoolRefusal>) -> Void
  ) {
    guard let layout = namespace.geometry(of: document.layout)?.layout else {
      return completion(.failure(.notFound(what: "layout", number: 0)))
    }
    change(.publish(document, layout), document.name, namespace) {
      completion($0.map(\.published))
    }
  }

  /// Forgets a name; its chunks stay, the texts of its tokens go unless another document has them.
  ///
  /// Otherwise as `publish`; fails also with `notFound` naming `name`.
  package func retire(
    document name: String, in namespace: Namespace,
    completion: @escaping @Sendable (Result<PublishedDocument, PoolRefusal>) -> Void
  ) {
    change(.retire(name), name, namespace) { result in
      let result = result.map(\.published)
      guard case .success(let retired) = result else { return completion(result) }
      self.dropTexts(of: retired.document, in: namespace) { completion(result) }
    }
  }

  /// Purges the texts of a retired document's tokens; should that not be noted, the name is gone
  /// all the same, and nothing finds them.
  private func dropTexts(
    of document: Document, in namespace: Namespace, completion: @escaping @Sendable () -> Void
  ) {
    guard let last = document.hashes.last,
      !documents.table(of: namespace).hasDocument(endingWith: last)
    else { return completion() }
    purge(.keys([TokenTexts.key(lastChunk: last)]), in: namespace) { _ in completion() }
  }

  /// What a name stands for; nil if it stands for nothing.
  package func published(document name: String, in namespace: Namespace) -> PublishedDocument? {
    documents.table(of: namespace).find(name)
  }

  /// What a name stands for, and how many leading chunks of it some tier has; nil if it stands for
  /// nothing.
  package func resolve(
    document name: String, in namespace: Namespace
  ) -> (document: PublishedDocument, presentChunks: Int)? {
    guard let found = published(document: name, in: namespace) else { return nil }
    return (found, presentChunks(of: found.document, in: namespace))
  }

  /// Documents behind a name in the order of the names' bytes, at most `limit`.
  package func documents(
    after name: String, limit: Int, in namespace: Namespace
  ) -> [PublishedDocument] {
    documents.table(of: namespace).list(after: name, limit: limit)
  }

  /// How many documents are known in all namespaces, and how many operations on them.
  package var documentCounts: (documents: Int, edits: Int) { documents.counts }

  /// Forgets all names of a namespace; `completion` as in `publish`, failing with `unavailable` if
  /// a crash may bring them back.
  func forgetDocuments(
    of namespace: Namespace,
    completion: @escaping @Sendable (Result<Void, PoolRefusal>) -> Void = { _ in }
  ) {
    documents.perform(.forget, in: namespace) { result in
      completion(result.map { _ in })
    }
  }

  // MARK: Changes

  /// Carries out what changes one document.
  func change(
    _ order: DocumentOrder, _ name: String, _ namespace: Namespace,
    completion: @escaping @Sendable (Result<DocumentOutcome, PoolRefusal>) -> Void
  ) {
    let before = published(document: name, in: namespace)
    documents.perform(order, in: namespace) { result in
      if case .success = result { self.documentChanged(name, before, in: namespace) }
      completion(result)
    }
  }

  /// Called after each change of what a name stands for or of its edits, before it is answered:
  /// what was made of it goes.
  private func documentChanged(
    _ name: String, _ before: PublishedDocument?, in namespace: Namespace
  ) {
    dropBlends(ofDocument: name, in: namespace)
    // Nothing is lost where nothing has changed, and what was kept can be made again.
    if let before, !before.edits.isEmpty { editsChanged(of: before, in: namespace) }
  }

  // MARK: Chunks

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
}
