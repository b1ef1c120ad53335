package import KDNControl
internal import KDNCore
internal import KDNPool

extension ServerControl {
  /// A page may be shorter than asked for although there is a next one.
  package func documents(_ query: DocumentQuery) throws(ControlFault) -> DocumentPage {
    guard (1...DocumentQuery.limitMax).contains(query.limit) else {
      throw ControlFault(
        .badRequest, field: "limit", "must be 1 to \(DocumentQuery.limitMax), not \(query.limit)")
    }
    let namespace = try self.namespace(query.namespace)
    let pool = context.pool
    let rules = pool.accessRules(in: namespace)
    if let name = query.name {
      let found = try document(DocumentName(namespace: query.namespace, name: name))
      let present = pool.presentChunks(of: found.published.document, in: namespace)
      return DocumentPage(documents: [
        DocumentPage.Item(found.published, presentChunks: present, rules)
      ])
    }
    // One more than asked for tells whether there is a next page.
    let found = pool.documents(
      after: query.after ?? "", limit: query.limit + 1, in: namespace)
    var items: [DocumentPage.Item] = []
    var chunks = 0
    for published in found.prefix(query.limit) where chunks < Self.chunksPerPageMax {
      chunks += published.document.hashes.count
      let present = pool.presentChunks(of: published.document, in: namespace)
      items.append(DocumentPage.Item(published, presentChunks: present, rules))
    }
    return DocumentPage(
      documents: items, next: items.count < found.count ? items.last?.name : nil)
  }

  /// A page ends with the document that looks for the last of so many chunks.
  private static var chunksPerPageMax: Int { 1 << 16 }

  /// Answers from memory.
  package func documentEdits(_ document: DocumentName) throws(ControlFault) -> DocumentEdits {
    let (published, namespace) = try self.document(document)
    let material = context.pool.materialised(document: document.name, in: namespace)
    return DocumentEdits(
      name: document.name, epoch: published.epoch,
      edits: published.edits.map { DocumentEdits.Item($0) },
      materialised: DocumentMaterial(material))
  }

  /// Answers from memory.
  package func documentRules(of namespace: String) throws(ControlFault) -> DocumentRules {
    let rules = context.pool.accessRules(in: try self.namespace(namespace))
    return DocumentRules(namespace: namespace, denied: rules.denied)
  }

  private func document(
    _ document: DocumentName
  ) throws(ControlFault) -> (published: PublishedDocument, namespace: Namespace) {
    let namespace = try self.namespace(document.namespace)
    guard let published = context.pool.published(document: document.name, in: namespace) else {
      throw ControlFault(.notFound, field: "name", "no document of this name")
    }
    return (published, namespace)
  }

  // MARK: Orders

  /// Applies wherever KV of the document is assembled from now on.
  package func edit(
    _ order: DocumentEditOrder, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentEditAnswer {
    let document = DocumentName(namespace: order.namespace, name: order.name)
    let details = Self.details(document) + [("operation", order.operation)]
    let order = try await spelledOut(order, by: who, details)
    return try await carryOut("document_edit", document, by: who, details) {
      namespace, completion throws(ControlFault) in
      let operation = try EditOperation(order)
      self.context.pool.edit(
        document: order.name, epoch: order.epoch ?? 0, operation, in: namespace,
        completion: completion)
    } answer: { (id: UInt64) in
      (DocumentEditAnswer(id: id), [("id", "\(id)")])
    }
  }

  /// The base was never changed: without operations it is what it was.
  package func revert(
    _ document: DocumentName, id: UInt64?, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRevertAnswer {
    let details = Self.details(document) + [("id", id.map { "\($0)" } ?? "all")]
    return try await carryOut("document_revert", document, by: who, details) {
      namespace, completion in
      self.context.pool.revert(
        document: document.name, id: id ?? 0, in: namespace, completion: completion)
    } answer: { (count: Int) in
      (DocumentRevertAnswer(reverted: count), [("reverted", "\(count)")])
    }
  }

  /// The chunks stay until they are evicted or purged.
  package func retire(
    _ document: DocumentName, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRetirement {
    try await carryOut("document_retire", document, by: who, Self.details(document)) {
      namespace, completion in
      self.context.pool.retire(document: document.name, in: namespace, completion: completion)
    } answer: { (retired: PublishedDocument) in
      (
        DocumentRetirement(name: document.name, epoch: retired.epoch),
        [("epoch", "\(retired.epoch)")]
      )
    }
  }

  /// Holds for every request that is answered from then on.
  package func changeDocumentRules(
    _ order: DocumentRulesOrder, by who: AdministratorName
  ) async throws(ControlFault) -> DocumentRules {
    var details: [(name: String, value: String)] = [("namespace", order.namespace)]
    for (name, rules) in [("denied", order.denied), ("deny", order.deny), ("allow", order.allow)] {
      if let rules { details.append((name, rules.joined(separator: " "))) }
    }
    let document = DocumentName(namespace: order.namespace, name: "")
    return try await carryOut("document_rules", document, by: who, details) {
      namespace, completion throws(ControlFault) in
      guard let denied = order.denied else {
        return self.context.pool.changeAccessRules(
          denying: order.deny ?? [], allowing: order.allow ?? [], in: namespace,
          completion: completion)
      }
      let rules = try Self.rules(denied)
      self.context.pool.setAccessRules(rules, in: namespace, completion: completion)
    } answer: { (rules: AccessRules) in
      (
        DocumentRules(namespace: order.namespace, denied: rules.denied),
        [("rules", "\(rules.denied.count)")]
      )
    }
  }

  private static func rules(_ denied: [String]) throws(ControlFault) -> AccessRules {
    do {
      return try AccessRules(denied: denied)
    } catch {
      throw ControlFault(error)
    }
  }

  private static func details(_ document: DocumentName) -> [(name: String, value: String)] {
    [("namespace", document.namespace), ("document", document.name)]
  }

  /// Carries out an order once, waits until it is kept, and tells the audit log.
  private func carryOut<Outcome: Sendable, Answer>(
    _ order: String, _ document: DocumentName, by who: AdministratorName,
    _ details: [(name: String, value: String)],
    _ begin: (
      Namespace, @escaping @Sendable (Result<Outcome, PoolRefusal>) -> Void
    ) throws(ControlFault) -> Void,
    answer: (Outcome) -> (Answer, [(name: String, value: String)])
  ) async throws(ControlFault) -> Answer {
    do throws(ControlFault) {
      let namespace = try self.namespace(document.namespace)
      let outcome = await withCheckedContinuation {
        (done: CheckedContinuation<Result<Outcome, ControlFault>, Never>) in
        do throws(ControlFault) {
          try begin(namespace) { result in
            done.resume(returning: result.mapError { ControlFault(document: $0) })
          }
        } catch {
          done.resume(returning: .failure(error))
        }
      }
      let (answer, more) = answer(try outcome.get())
      audit.granted(order, by: who, details + more)
      return answer
    } catch {
      audit.refused(order, by: who, error, details)
      throw error
    }
  }
}

extension ControlFault {
  /// Why a change of documents was not made.
  fileprivate init(document refusal: PoolRefusal) {
    switch refusal {
    case .unavailable:
      self.init(.unavailable, "no directory of the disk tier can be written: nothing has changed")
    default: self.init(refusal)
    }
  }
}

extension DocumentPage.Item {
  fileprivate init(_ published: PublishedDocument, presentChunks: Int, _ rules: AccessRules) {
    let document = published.document
    self.init(
      name: document.name, epoch: published.epoch, layout: "\(document.layout)",
      tokens: document.tokenCount, chunks: document.hashes.count, presentChunks: presentChunks,
      metadata: document.metadata, edits: published.edits.count,
      isDenied: rules.rule(denying: document.name) != nil)
  }
}

extension DocumentEdits.Item {
  fileprivate init(_ edit: DocumentEdit) {
    switch edit.operation {
    case .scaleKeys(let strength, let spans):
      self.init(
        id: edit.id, operation: "scale_keys", strength: Double(strength), spans: spans.pairs)
    case .scaleValues(let strength, let spans):
      self.init(
        id: edit.id, operation: "scale_values", strength: Double(strength), spans: spans.pairs)
    case .drop(let spans): self.init(id: edit.id, operation: "drop", spans: spans.pairs)
    case .keep: preconditionFailure("scores are not kept")
    case .requantise(let codec):
      self.init(id: edit.id, operation: "requantise", spans: [], codecClass: codec.name)
    }
  }
}

extension TokenSpans {
  fileprivate var pairs: [[Int]] { ranges.map { [$0.lowerBound, $0.upperBound] } }
}

extension EditOperation {
  /// What an order asks for.
  ///
  /// - Throws: `bad_request` that names the field at fault.
  fileprivate init(_ order: DocumentEditOrder) throws(ControlFault) {
    let isKeep = order.operation == "keep"
    let isScale = order.operation == "scale_keys" || order.operation == "scale_values"
    func refuse(_ field: String, _ message: String) -> ControlFault {
      ControlFault(.badRequest, field: field, message)
    }
    if order.operation == "requantise" {
      self = try Self.requantise(order)
      return
    }
    guard order.codecClass == nil else { throw refuse("class", "is for requantise alone") }
    guard isKeep || isScale || order.operation == "drop" else {
      throw refuse(
        "operation",
        "must be scale_keys, scale_values, emphasise, suppress, drop, keep or requantise")
    }
    guard isScale == (order.strength != nil) else {
      throw refuse("strength", isScale ? "is needed" : "is for scale_keys and scale_values alone")
    }
    guard isKeep == (order.permille != nil) else {
      throw refuse("permille", isKeep ? "is needed" : "is for keep alone")
    }
    guard isKeep == (order.scores != nil) else {
      throw refuse("scores", isKeep ? "is needed" : "is for keep alone")
    }
    guard isKeep == (order.spans == nil) else {
      throw refuse("spans", isKeep ? "is not for keep" : "is needed")
    }
    do {
      let spans = try TokenSpans(ranges(order.spans ?? []))
      let strength = Float(order.strength ?? 0)
      switch order.operation {
      case "scale_keys": self = .scaleKeys(strength, spans)
      case "scale_values": self = .scaleValues(strength, spans)
      case "drop": self = .drop(spans)
      default:
        self = .keep(permille: order.permille ?? 0, scores: (order.scores ?? []).map { Float($0) })
      }
      try check()
    } catch let fault as FieldFault {
      throw ControlFault(fault)
    } catch let fault as ControlFault {
      throw fault
    } catch {
      preconditionFailure("no other errors are thrown: \(error)")
    }
  }
}

/// Runs of tokens from pairs of numbers.
private func ranges(_ pairs: [[Int]]) throws(ControlFault) -> [Range<Int>] {
  var ranges: [Range<Int>] = []
  for pair in pairs {
    guard pair.count == 2, pair[0] >= 0, pair[0] <= pair[1] else {
      throw ControlFault(
        .badRequest, field: "spans", "each must be its first token and the token behind its last")
    }
    ranges.append(pair[0]..<pair[1])
  }
  return ranges
}
