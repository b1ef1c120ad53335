package import KDNCore

extension JournalEntry {
  /// Appends the entry to `writer`; traps if it has more than `countMax` keys, layouts or hashes,
  /// or a layout of more than `layoutBytesMax`.
  package func write(to writer: inout ByteWriter) {
    switch self {
    case .generation(let name, let generation):
      Self.put(.generation, name, to: &writer)
      writer.put(generation)
    case .purgedKeys(let name, let sequence, let keys):
      Self.put(.purgedKeys, name, sequence: sequence, count: keys.count, to: &writer)
      for key in keys { key.write(to: &writer) }
    case .purgedLayouts(let name, let sequence, let layouts):
      Self.put(.purgedLayouts, name, sequence: sequence, count: layouts.count, to: &writer)
      for layout in layouts { layout.write(to: &writer) }
    case .purgedChunks(let name, let sequence, let hashes):
      Self.put(.purgedChunks, name, sequence: sequence, count: hashes.count, to: &writer)
      for hash in hashes { hash.write(to: &writer) }
    case .layout(let name, let layout):
      let encoding = layout.canonicalEncoding
      precondition(encoding.count <= Self.layoutBytesMax, "the layout is too long to be kept")
      Self.put(.layout, name, to: &writer)
      writer.put(UInt32(encoding.count))
      writer.put(contentsOf: encoding)
    case .pinned(let name, let key, let endMilliseconds):
      Self.put(.pinned, name, to: &writer)
      key.write(to: &writer)
      writer.put(endMilliseconds)
    case .unpinned(let name, let key):
      Self.put(.unpinned, name, to: &writer)
      key.write(to: &writer)
    case .sequenceReserved(let sequence):
      writer.put(Kind.sequenceReserved.rawValue)
      writer.put(sequence)
    }
  }

  private static func put(_ kind: Kind, _ name: NamespaceName, to writer: inout ByteWriter) {
    writer.put(kind.rawValue)
    writer.put(name.text)
  }

  private static func put(
    _ kind: Kind, _ name: NamespaceName, sequence: UInt64, count: Int, to writer: inout ByteWriter
  ) {
    precondition(count <= countMax, "too many for one journal entry")
    put(kind, name, to: &writer)
    writer.put(sequence)
    writer.put(UInt16(count))
  }

  /// Takes one entry.
  ///
  /// - Throws: a fault that names `kind`, `namespace`, `count`, `layoutBytes`, or the field of a
  ///   key or layout that is at fault or cut off.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    let rawKind: UInt8 = try reader.take("kind")
    guard let kind = Kind(rawValue: rawKind) else {
      throw FieldFault(
        "kind", value: Int(rawKind), limit: Kind.allCases.count, "no such kind of journal entry")
    }
    if kind == .sequenceReserved {
      self = .sequenceReserved(try reader.take("sequence"))
      return
    }
    let text = try reader.takeString("namespace", limit: NamespaceName.byteCountMax)
    try self.init(kind, try NamespaceName(text), from: &reader)
  }

  private init(
    _ kind: Kind, _ name: NamespaceName, from reader: inout ByteReader
  ) throws(FieldFault) {
    switch kind {
    case .generation: self = .generation(name, try reader.take("generation"))
    case .purgedKeys, .purgedLayouts, .purgedChunks:
      try self.init(purged: kind, name, from: &reader)
    case .layout: self = .layout(name, try Self.takeLayout(from: &reader))
    case .pinned:
      let key = try ObjectKey(from: &reader)
      self = .pinned(name, key, endMilliseconds: try reader.take("endMilliseconds"))
    case .unpinned: self = .unpinned(name, try ObjectKey(from: &reader))
    case .sequenceReserved: self = .sequenceReserved(try reader.take("sequence"))
    }
  }

  private init(
    purged kind: Kind, _ name: NamespaceName, from reader: inout ByteReader
  ) throws(FieldFault) {
    let sequence: UInt64 = try reader.take("sequence")
    let count = Int(try reader.take("count", as: UInt16.self))
    guard count <= Self.countMax else {
      throw FieldFault("count", value: count, limit: Self.countMax, "too many in one entry")
    }
    switch kind {
    case .purgedKeys:
      let keys = try Self.take(count, from: &reader, ObjectKey.init(from:))
      self = .purgedKeys(name, sequence: sequence, keys: keys)
    case .purgedLayouts:
      let layouts = try Self.take(count, from: &reader, LayoutID.init(from:))
      self = .purgedLayouts(name, sequence: sequence, layouts: layouts)
    default:
      let hashes = try Self.take(count, from: &reader) { bytes throws(FieldFault) in
        try ChunkHash(from: &bytes)
      }
      self = .purgedChunks(name, sequence: sequence, hashes: hashes)
    }
  }

  private static func take<Value>(
    _ count: Int, from reader: inout ByteReader,
    _ one: (inout ByteReader) throws(FieldFault) -> Value
  ) throws(FieldFault) -> [Value] {
    var values: [Value] = []
    for _ in 0..<count { values.append(try one(&reader)) }
    return values
  }

  private static func takeLayout(from reader: inout ByteReader) throws(FieldFault) -> Layout {
    let count = Int(try reader.take("layoutBytes", as: UInt32.self))
    guard count <= layoutBytesMax else {
      throw FieldFault("layoutBytes", value: count, limit: layoutBytesMax, "too long")
    }
    return try Layout(canonicalEncoding: Array(try reader.takeBytes("layoutBytes", count: count)))
  }
}
