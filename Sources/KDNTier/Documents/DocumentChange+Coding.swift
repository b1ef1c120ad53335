package import KDNCore

/// See `Formats`, section Documents, for the fields.
extension DocumentChange {
  /// The change in bytes.
  package var bytes: [UInt8] {
    var writer = ByteWriter(capacity: 256)
    write(to: &writer)
    return writer.bytes
  }

  /// Appends the change; traps if a document has more than `chunksMax` chunks, a layout more than
  /// `layoutBytesMax` bytes, or an operation more spans than are kept.
  package func write(to writer: inout ByteWriter) {
    switch self {
    case .epoch(let name, let epoch):
      Self.put(.epoch, name, to: &writer)
      writer.put(epoch)
    case .layout(let name, let layout):
      let encoding = layout.canonicalEncoding
      precondition(encoding.count <= Self.layoutBytesMax, "the layout is too long to be kept")
      Self.put(.layout, name, to: &writer)
      writer.put(UInt32(encoding.count))
      writer.put(contentsOf: encoding)
    case .published(let name, let document, let epoch):
      Self.put(.published, name, to: &writer)
      writer.put(epoch)
      Self.put(document, to: &writer)
    case .retired(let name, let document):
      Self.put(.retired, name, to: &writer)
      writer.put(document, limit: Document.nameBytesMax)
    case .edited(let name, let document, let edit):
      Self.put(.edited, name, to: &writer)
      writer.put(document, limit: Document.nameBytesMax)
      writer.put(edit.id)
      edit.operation.write(to: &writer)
    case .reverted(let name, let document, let id):
      Self.put(.reverted, name, to: &writer)
      writer.put(document, limit: Document.nameBytesMax)
      writer.put(id)
    case .forgotten(let name): Self.put(.forgotten, name, to: &writer)
    case .denied(let name, let rules):
      Self.put(.denied, name, to: &writer)
      writer.put(UInt16(rules.denied.count))
      for rule in rules.denied { writer.put(rule, limit: AccessRules.ruleBytesMax) }
    }
  }

  private static func put(_ kind: Kind, _ name: NamespaceName, to writer: inout ByteWriter) {
    writer.put(kind.rawValue)
    writer.put(name.text)
  }

  private static func put(_ document: Document, to writer: inout ByteWriter) {
    precondition(document.hashes.count <= chunksMax, "the document has more chunks than are kept")
    document.layout.write(to: &writer)
    writer.put(UInt32(document.tokenCount))
    writer.put(UInt32(document.chunkTokens))
    writer.put(document.name, limit: Document.nameBytesMax)
    writer.put(document.metadata, limit: Document.metadataBytesMax)
    writer.put(UInt32(document.hashes.count))
    for hash in document.hashes { hash.write(to: &writer) }
  }

  /// Takes one change.
  ///
  /// - Throws: a fault that names `kind`, or the field that is at fault or cut off.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    let number: UInt8 = try reader.take("kind")
    guard let kind = Kind(rawValue: number) else {
      throw FieldFault(
        "kind", value: Int(number), limit: Kind.allCases.count, "no such change of documents")
    }
    let text = try reader.takeString("namespace", limit: NamespaceName.byteCountMax)
    let name = try NamespaceName(text)
    switch kind {
    case .epoch: self = .epoch(name, try reader.take("epoch"))
    case .layout: self = .layout(name, try Self.takeLayout(from: &reader))
    case .published:
      let epoch: UInt64 = try reader.take("epoch")
      self = .published(name, try Self.takeDocument(from: &reader), epoch: epoch)
    case .retired: self = .retired(name, name: try reader.takeName())
    case .edited:
      let document = try reader.takeName()
      let id: UInt64 = try reader.take("id")
      guard id > 0 else { throw FieldFault("id", value: id, limit: 1, "must not be zero") }
      let operation = try EditOperation(from: &reader, spansMax: EditOperation.keptSpansMax)
      if case .keep = operation {
        throw FieldFault("kind", value: 4, limit: 0, "scores are not kept")
      }
      self = .edited(name, name: document, DocumentEdit(id: id, operation: operation))
    case .reverted:
      let document = try reader.takeName()
      self = .reverted(name, name: document, id: try reader.take("id"))
    case .forgotten: self = .forgotten(name)
    case .denied: self = .denied(name, try Self.takeRules(from: &reader))
    }
  }

  private static func takeLayout(from reader: inout ByteReader) throws(FieldFault) -> Layout {
    let count = Int(try reader.take("layoutBytes", as: UInt32.self))
    guard count <= layoutBytesMax else {
      throw FieldFault("layoutBytes", value: count, limit: layoutBytesMax, "too long")
    }
    return try Layout(canonicalEncoding: Array(try reader.takeBytes("layoutBytes", count: count)))
  }

  private static func takeDocument(from reader: inout ByteReader) throws(FieldFault) -> Document {
    let layout = try LayoutID(from: &reader)
    let tokenCount = Int(try reader.take("tokenCount", as: UInt32.self))
    let chunkTokens = Int(try reader.take("chunkTokens", as: UInt32.self))
    let name = try reader.takeName()
    let metadata = try reader.takeString("metadata", limit: Document.metadataBytesMax)
    let count = Int(try reader.take("count", as: UInt32.self))
    // Asked first, so that a count alone reserves no memory.
    guard count <= chunksMax, reader.remaining / ChunkHash.byteCount >= count else {
      throw FieldFault(
        "count", value: count, limit: min(chunksMax, reader.remaining / ChunkHash.byteCount),
        "more chunks than there can be")
    }
    var hashes: [ChunkHash] = []
    hashes.reserveCapacity(count)
    for _ in 0..<count { hashes.append(try ChunkHash(from: &reader)) }
    return try Document(
      name: name, layout: layout, tokenCount: tokenCount, chunkTokens: chunkTokens,
      hashes: hashes, metadata: metadata)
  }

  private static func takeRules(from reader: inout ByteReader) throws(FieldFault) -> AccessRules {
    let count = Int(try reader.take("count", as: UInt16.self))
    var rules: [String] = []
    for _ in 0..<count {
      rules.append(try reader.takeString("rule", least: 1, limit: AccessRules.ruleBytesMax))
    }
    let checked = try AccessRules(denied: rules)
    guard checked.denied.elementsEqual(rules, by: { $0.utf8.elementsEqual($1.utf8) }) else {
      throw FieldFault("rule", value: count, limit: checked.denied.count, "not in their order")
    }
    return checked
  }
}

extension ByteReader {
  fileprivate mutating func takeName() throws(FieldFault) -> String {
    try Document.checked(try takeString("name", limit: Document.nameBytesMax))
  }
}
