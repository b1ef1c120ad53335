package import KDNCore
internal import KDNTier

/// A document as it was published, with what was done to it since.
///
/// An edit makes another one of the same epoch: who has one keeps it as it was.
package final class PublishedDocument: Sendable {
  /// What was published.
  package let document: Document
  /// Grows with each publication in its namespace; tells a text from the one that it replaced.
  package let epoch: UInt64
  /// Operations on the KV, in the order of their ids; applied where KV is assembled.
  package let edits: [DocumentEdit]
  /// Bytes that it takes in a record.
  let recordBytes: Int
  private let charge: IndexCharge

  init(_ document: Document, epoch: UInt64, edits: [DocumentEdit], charge: consuming IndexCharge) {
    self.document = document
    self.epoch = epoch
    self.edits = edits
    recordBytes = Self.recordBytes(of: document, edits)
    self.charge = charge
  }

  /// Memory that keeping it takes, about.
  static func byteCount(of document: Document, _ edits: [DocumentEdit]) -> Int {
    edits.reduce(document.byteCount) { $0 + 64 + $1.operation.spanCount * 16 }
  }

  /// Bytes that it takes in a record, at most: the longest name of a namespace is counted.
  static func recordBytes(of document: Document, _ edits: [DocumentEdit]) -> Int {
    let entry = 3 + NamespaceName.byteCountMax + 2 + document.name.utf8.count
    let facts = 8 + 16 + 12 + 2 + document.metadata.utf8.count
    let text = entry + facts + document.hashes.count * ChunkHash.byteCount
    return edits.reduce(text) { sum, edit in
      sum + entry + 8 + EditOperation.fixedByteCount
        + edit.operation.spanCount * TokenSpans.rangeByteCount
    }
  }
}

extension EditOperation {
  /// How many spans it has; none for scores, which are not kept.
  fileprivate var spanCount: Int {
    switch self {
    case .scaleKeys(_, let spans), .scaleValues(_, let spans), .drop(let spans): spans.count
    case .keep, .requantise: 0
    }
  }
}

/// The documents of one namespace, in the order of their names' bytes, and its rules.
struct DocumentTable: Sendable {
  /// Names as bytes: Swift holds strings for equal that differ in their bytes.
  private typealias Name = [UInt8]

  /// The namespace.
  let namespace: NamespaceName
  /// Which documents may not be used.
  var rules = AccessRules.none {
    didSet { ruleBytes = rules.denied.reduce(0) { $0 + 2 + $1.utf8.count } }
  }
  /// The last number that was given, to a document or an edit.
  var lastEpoch: UInt64
  private var byName: [Name: PublishedDocument] = [:]
  private var names: [Name] = []
  /// The layouts that documents name, and how many do.
  private var layouts: [LayoutID: (layout: Layout, uses: Int)] = [:]
  /// The last chunks of documents, and how many end with each.
  private var ends: [ChunkHash: Int] = [:]
  /// Operations on all of them.
  private(set) var editCount = 0
  private var documentBytes = 0
  private var layoutBytes = 0
  private var ruleBytes = 0

  init(_ namespace: NamespaceName, lastEpoch: UInt64) {
    self.namespace = namespace
    self.lastEpoch = lastEpoch
  }

  /// How many there are.
  var count: Int { names.count }

  /// Bytes that all this takes in a record, at most.
  var recordBytes: Int {
    documentBytes + layoutBytes + ruleBytes + 2 * (3 + NamespaceName.byteCountMax) + 10
  }

  /// Bytes that a layout takes in a record, at most; none if a document names it already.
  func recordBytes(of layout: Layout) -> Int {
    guard layouts[layout.id] == nil else { return 0 }
    return 3 + NamespaceName.byteCountMax + 4 + layout.canonicalEncoding.count
  }

  func contains(_ name: String) -> Bool { byName[Array(name.utf8)] != nil }

  func find(_ name: String) -> PublishedDocument? { byName[Array(name.utf8)] }

  /// A number that was never given before.
  mutating func nextEpoch() -> UInt64 {
    lastEpoch += 1
    return lastEpoch
  }

  /// Puts a document in the place of what had its name; `layout` is the one that it names.
  mutating func put(_ published: PublishedDocument, _ layout: Layout) {
    let name = Array(published.document.name.utf8)
    documentBytes += published.recordBytes
    editCount += published.edits.count
    for last in published.document.hashes.suffix(1) { ends[last, default: 0] += 1 }
    layoutBytes += recordBytes(of: layout)
    layouts[layout.id, default: (layout, 0)].uses += 1
    if let replaced = byName.updateValue(published, forKey: name) {
      forget(replaced)
    } else {
      names.insert(name, at: place(behind: name))
    }
  }

  /// Puts a document with other edits in its own place.
  mutating func replace(_ published: PublishedDocument) {
    guard let layout = layouts[published.document.layout]?.layout else {
      preconditionFailure("a document's layout is known")
    }
    put(published, layout)
  }

  /// Takes a document out.
  mutating func retire(_ name: String) -> PublishedDocument? {
    let name = Array(name.utf8)
    guard let retired = byName.removeValue(forKey: name) else { return nil }
    forget(retired)
    names.remove(at: place(behind: name) - 1)
    return retired
  }

  /// Up to `limit` documents behind a name, which need not be there.
  func list(after name: String, limit: Int) -> [PublishedDocument] {
    let start = name.isEmpty ? 0 : place(behind: Array(name.utf8))
    return names[start...].prefix(limit).compactMap { byName[$0] }
  }

  /// Documents that have edits.
  var edited: [PublishedDocument] { byName.values.filter { !$0.edits.isEmpty } }

  /// Takes out all documents; numbers and rules stay.
  mutating func removeAll() {
    byName = [:]
    names = []
    layouts = [:]
    ends = [:]
    (documentBytes, layoutBytes, editCount) = (0, 0, 0)
  }

  /// Whether a document names this layout.
  func names(_ layout: Layout) -> Bool { layouts[layout.id] != nil }

  /// Whether a document ends with this chunk: the tokens of all that do are the same.
  func hasDocument(endingWith last: ChunkHash) -> Bool { ends[last] != nil }

  /// The changes that come to all this.
  var changes: [DocumentChange] {
    var changes: [DocumentChange] = [.epoch(namespace, lastEpoch)]
    if rules != .none { changes.append(.denied(namespace, rules)) }
    changes += layouts.values.map { .layout(namespace, $0.layout) }
    for published in names.compactMap({ byName[$0] }) {
      let document = published.document
      changes.append(.published(namespace, document, epoch: published.epoch))
      changes += published.edits.map { .edited(namespace, name: document.name, $0) }
    }
    return changes
  }

  private mutating func forget(_ gone: PublishedDocument) {
    documentBytes -= gone.recordBytes
    editCount -= gone.edits.count
    for last in gone.document.hashes.suffix(1) {
      ends[last] = ends[last].flatMap { $0 > 1 ? $0 - 1 : nil }
    }
    guard let (layout, uses) = layouts[gone.document.layout] else { return }
    layouts[layout.id] = uses > 1 ? (layout, uses - 1) : nil
    if uses == 1 { layoutBytes -= recordBytes(of: layout) }
  }

  /// Where the first name behind `name` stands.
  private func place(behind name: Name) -> Int {
    var low = 0
    var high = names.count
    while low < high {
      let middle = (low + high) / 2
      if name.lexicographicallyPrecedes(names[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
