internal import KDNCore
internal import KDNTier

/// A change that somebody asks for.
enum DocumentOrder: Sendable {
  /// Makes a name stand for a text of a layout.
  case publish(Document, Layout)
  /// Forgets a name.
  case retire(String)
  /// Adds an operation to a document of this epoch, or any for 0.
  case edit(String, epoch: UInt64, EditOperation)
  /// Takes back one operation of a document, or all for 0.
  case revert(String, id: UInt64)
  /// Puts these rules in the place of all.
  case setRules(AccessRules)
  /// Adds rules and takes others away.
  case changeRules(denying: [String], allowing: [String])
  /// Forgets all names.
  case forget

  /// Bytes that it adds to a record, at most.
  var recordBytes: Int {
    switch self {
    case .publish(let document, let layout):
      PublishedDocument.recordBytes(of: document, []) + layout.canonicalEncoding.count + 256
    case .edit(_, _, .keep), .edit(_, _, .drop): 512 + EditOperation.keptSpansMax * 8
    case .edit: 512 + EditOperation.spansMax * 8
    case .setRules, .changeRules: AccessRules.countMax * (AccessRules.ruleBytesMax + 2)
    case .retire, .revert, .forget: 512
    }
  }
}

/// What came of an order.
enum DocumentOutcome: Sendable {
  /// It was published, or retired.
  case document(PublishedDocument)
  /// The operation has this id.
  case edited(id: UInt64)
  /// So many operations were taken back.
  case reverted(count: Int)
  /// These rules hold.
  case ruled(AccessRules)
  /// All names are forgotten.
  case forgotten
}

/// What an order must fit into.
struct DocumentBounds {
  /// Most documents of a namespace.
  let countMax: Int
  /// Most bytes of one namespace in a record.
  let recordBytesMax: Int
  /// Where memory is charged.
  let budget: MemoryBudget
}

extension DocumentTable {
  /// Carries out an order and tells what must be written for it; changes nothing if it throws.
  ///
  /// - Throws: `notFound` naming `name` or `id`, `fault` naming `epoch` or a field of an operation,
  ///   `limit` naming `documents`, `edits` or `documentBytes`, `busy` if there is no memory.
  mutating func carryOut(
    _ order: DocumentOrder, _ bounds: DocumentBounds
  ) throws(PoolRefusal) -> (outcome: DocumentOutcome, changes: [DocumentChange]) {
    switch order {
    case .publish(let document, let layout): return try publish(document, layout, bounds)
    case .retire(let name):
      guard let retired = retire(name) else { throw Self.unknown }
      return (.document(retired), [.retired(namespace, name: name)])
    case .edit(let name, let epoch, let operation):
      return try edit(name, epoch: epoch, operation, bounds)
    case .revert(let name, let id): return try revert(name, id: id, bounds)
    case .setRules(let rules): return try set(rules, bounds)
    case .changeRules(let denying, let allowing):
      do {
        return try set(rules.changed(denying: denying, allowing: allowing), bounds)
      } catch let fault as FieldFault {
        throw .fault(fault)
      } catch let refusal as PoolRefusal {
        throw refusal
      } catch {
        preconditionFailure("no other errors are thrown: \(error)")
      }
    case .forget:
      removeAll()
      return (.forgotten, [.forgotten(namespace)])
    }
  }

  private static var unknown: PoolRefusal { .notFound(what: "name", number: 0) }

  private func check(addedBytes: Int, _ bounds: DocumentBounds) throws(PoolRefusal) {
    guard recordBytes + addedBytes <= bounds.recordBytesMax else {
      throw .limit(
        FieldFault(
          "documentBytes", value: recordBytes + addedBytes, limit: bounds.recordBytesMax,
          "more than is kept of documents on disk"))
    }
  }

  private mutating func publish(
    _ document: Document, _ layout: Layout, _ bounds: DocumentBounds
  ) throws(PoolRefusal) -> (outcome: DocumentOutcome, changes: [DocumentChange]) {
    let replaced = find(document.name)
    guard replaced != nil || count < bounds.countMax else {
      throw .limit(
        FieldFault(
          "documents", value: bounds.countMax, limit: bounds.countMax, "too many documents"))
    }
    let added = PublishedDocument.recordBytes(of: document, []) + recordBytes(of: layout)
    try check(addedBytes: added - (replaced?.recordBytes ?? 0), bounds)
    let charge = try Self.charge(document, [], bounds)
    let isNew = !names(layout)
    let published = PublishedDocument(document, epoch: nextEpoch(), edits: [], charge: charge)
    put(published, layout)
    let change = DocumentChange.published(namespace, document, epoch: published.epoch)
    return (.document(published), (isNew ? [.layout(namespace, layout)] : []) + [change])
  }

  private mutating func edit(
    _ name: String, epoch: UInt64, _ operation: EditOperation, _ bounds: DocumentBounds
  ) throws(PoolRefusal) -> (outcome: DocumentOutcome, changes: [DocumentChange]) {
    guard let found = find(name) else { throw Self.unknown }
    guard epoch == 0 || epoch == found.epoch else {
      throw .fault(
        FieldFault("epoch", value: epoch, limit: found.epoch, "published anew since"))
    }
    guard found.edits.count < EditOperation.countMax else {
      throw .limit(
        FieldFault(
          "edits", value: found.edits.count, limit: EditOperation.countMax, "too many operations"))
    }
    let kept: EditOperation
    do {
      kept = try operation.kept(tokenCount: found.document.tokenCount)
    } catch {
      throw .fault(error)
    }
    let edits = found.edits + [DocumentEdit(id: lastEpoch + 1, operation: kept)]
    let added = PublishedDocument.recordBytes(of: found.document, edits) - found.recordBytes
    try check(addedBytes: added, bounds)
    let charge = try Self.charge(found.document, edits, bounds)
    let id = nextEpoch()
    replace(PublishedDocument(found.document, epoch: found.epoch, edits: edits, charge: charge))
    let edit = DocumentEdit(id: id, operation: kept)
    return (.edited(id: id), [.edited(namespace, name: name, edit)])
  }

  private mutating func revert(
    _ name: String, id: UInt64, _ bounds: DocumentBounds
  ) throws(PoolRefusal) -> (outcome: DocumentOutcome, changes: [DocumentChange]) {
    guard let found = find(name) else { throw Self.unknown }
    let edits = id == 0 ? [] : found.edits.filter { $0.id != id }
    let count = found.edits.count - edits.count
    guard id == 0 || count > 0 else { throw .notFound(what: "id", number: id) }
    guard count > 0 else { return (.reverted(count: 0), []) }
    let charge = try Self.charge(found.document, edits, bounds)
    replace(PublishedDocument(found.document, epoch: found.epoch, edits: edits, charge: charge))
    return (.reverted(count: count), [.reverted(namespace, name: name, id: id)])
  }

  private mutating func set(
    _ rules: AccessRules, _ bounds: DocumentBounds
  ) throws(PoolRefusal) -> (outcome: DocumentOutcome, changes: [DocumentChange]) {
    let bytes = { (rules: AccessRules) in rules.denied.reduce(0) { $0 + 2 + $1.utf8.count } }
    try check(addedBytes: max(0, bytes(rules) - bytes(self.rules)), bounds)
    self.rules = rules
    return (.ruled(rules), [.denied(namespace, rules)])
  }

  private static func charge(
    _ document: Document, _ edits: [DocumentEdit], _ bounds: DocumentBounds
  ) throws(PoolRefusal) -> IndexCharge {
    let bytes = PublishedDocument.byteCount(of: document, edits)
    guard let charge = IndexCharge(bytes, to: bounds.budget) else {
      throw .busy(retryAfterMilliseconds: 1000)
    }
    return charge
  }
}

extension EditOperation {
  /// The operation as it is kept beside a document: scores come to the tokens that are dropped.
  ///
  /// - Throws: a fault that names the field at fault.
  func kept(tokenCount: Int) throws(FieldFault) -> EditOperation {
    try check(tokenCount: tokenCount)
    guard case .keep(let permille, let scores) = self else { return self }
    let count = (permille * scores.count + 999) / 1000
    // Of equal scores the earlier token stays.
    let order = scores.indices.sorted {
      scores[$0] > scores[$1] || scores[$0] == scores[$1] && $0 < $1
    }
    var ranges: [Range<Int>] = []
    for token in order[count...].sorted() {
      if let last = ranges.last, last.upperBound == token {
        ranges[ranges.count - 1] = last.lowerBound..<token + 1
      } else {
        ranges.append(token..<token + 1)
      }
    }
    guard !ranges.isEmpty else {
      throw FieldFault("permille", value: permille, limit: 999, "drops nothing")
    }
    guard ranges.count <= Self.keptSpansMax else {
      throw FieldFault(
        "spanCount", value: ranges.count, limit: Self.keptSpansMax,
        "the scores come to more runs of dropped tokens than are kept")
    }
    return .drop(try TokenSpans(ranges))
  }
}
