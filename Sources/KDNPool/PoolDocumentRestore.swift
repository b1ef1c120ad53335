internal import KDNCore
package import KDNTier

/// What was found of documents at a start.
package struct RestoredDocuments: Sendable {
  /// Documents that are there again.
  package var documents = 0
  /// Their operations.
  package var edits = 0
  /// Rules that hold again.
  package var rules = 0
  /// Documents that could not be taken: memory or a limit is smaller now, or facts are missing.
  package var lost = 0
  /// Whether something that was durable could not be read, so that no document was believed.
  package var isDamaged = false
  /// What is wrong, and in which directory.
  package var problems: [(path: String, problem: String)] = []
}

extension Pool {
  /// Takes up what `journal` holds and keeps all changes of documents there from now on.
  ///
  /// To be called once, before anything is changed. Blocks.
  ///
  /// `forgetsDocuments`: for a cache that was dropped; rules and epochs stay.
  package func keepDocuments(
    in journal: DocumentJournal, forgetsDocuments: Bool = false
  ) -> RestoredDocuments {
    let loaded = journal.load()
    var restored = RestoredDocuments()
    (restored.isDamaged, restored.problems) = (loaded.isDamaged, loaded.problems)
    var tables: [UInt32: DocumentTable] = [:]
    for change in loaded.changes {
      guard let namespace = try? self.namespace(change.namespace) else {
        if case .published = change { restored.lost += 1 }
        continue
      }
      var table = tables[namespace.number] ?? documents.empty(namespace)
      tables[namespace.number] = nil
      if !take(change, namespace, into: &table) { restored.lost += 1 }
      tables[namespace.number] = table
    }
    var forgotten: [DocumentChange] = []
    if forgetsDocuments {
      for number in tables.keys.sorted() where tables[number]?.count ?? 0 > 0 {
        guard let name = tables[number]?.namespace else { continue }
        tables[number]?.removeAll()
        forgotten.append(.forgotten(name))
      }
    }
    for table in tables.values {
      restored.rules += table.rules.denied.count
      restored.documents += table.count
      restored.edits += table.list(after: "", limit: .max).reduce(0) { $0 + $1.edits.count }
    }
    if !forgotten.isEmpty || loaded.isDamaged {
      let numbers = tables.keys.sorted()
      // Who fails is told by the journal, and nothing is lost that is not lost already.
      try? journal.append(forgotten) { numbers.flatMap { tables[$0]?.changes ?? [] } }
    }
    documents.keep(tables, in: journal)
    return restored
  }

  /// Nothing of documents is changed any more; the journal's directories are given back.
  package func closeDocuments() { documents.close() }

  /// Takes up one change; false if a document is lost.
  private func take(
    _ change: DocumentChange, _ namespace: Namespace, into table: inout DocumentTable
  ) -> Bool {
    switch change {
    case .epoch(_, let epoch): table.lastEpoch = max(table.lastEpoch, epoch)
    case .layout(_, let layout): _ = try? register(layout, in: namespace)
    case .published(_, let document, let epoch):
      table.lastEpoch = max(table.lastEpoch, epoch)
      _ = table.retire(document.name)
      guard let layout = namespace.geometry(of: document.layout)?.layout,
        table.count < configuration.documentsPerNamespaceMax,
        let charge = IndexCharge(PublishedDocument.byteCount(of: document, []), to: budget)
      else { return false }
      table.put(PublishedDocument(document, epoch: epoch, edits: [], charge: charge), layout)
    case .retired(_, let name): _ = table.retire(name)
    case .edited(_, let name, let edit):
      table.lastEpoch = max(table.lastEpoch, edit.id)
      return setEdits(of: name, in: &table) { $0 + [edit] }
    case .reverted(_, let name, let id):
      return setEdits(of: name, in: &table) { id == 0 ? [] : $0.filter { $0.id != id } }
    case .forgotten: table.removeAll()
    case .denied(_, let rules): table.rules = rules
    }
    return true
  }

  /// Gives a document other edits; without memory for them, or if they are none of its own, it is
  /// lost: it must not be had without what was done to it.
  private func setEdits(
    of name: String, in table: inout DocumentTable, _ body: ([DocumentEdit]) -> [DocumentEdit]
  ) -> Bool {
    // One that was lost itself is counted already.
    guard let found = table.find(name) else { return true }
    let edits = body(found.edits)
    let tokenCount = found.document.tokenCount
    let areSound =
      edits.count <= EditOperation.countMax
      && edits.allSatisfy { edit in
        (try? edit.operation.check(
          spansMax: EditOperation.keptSpansMax, tokenCount: tokenCount)) != nil
      }
    guard areSound,
      let charge = IndexCharge(PublishedDocument.byteCount(of: found.document, edits), to: budget)
    else {
      _ = table.retire(name)
      return false
    }
    table.replace(
      PublishedDocument(found.document, epoch: found.epoch, edits: edits, charge: charge))
    return true
  }
}
