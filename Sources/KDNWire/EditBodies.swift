package import KDNCore

/// EDIT: changes of a document's KV, kept beside it.
package enum EditRequest: FrameBody {
  /// Adds an operation to a document, if its epoch is this one, or any for 0.
  case add(name: String, epoch: UInt64, EditOperation)
  /// Asks for a document's operations.
  case list(name: String)
  /// Takes back one operation, or all for 0.
  case revert(name: String, id: UInt64)
  /// Asks how much of what edits change is kept as it is delivered; an order has it made.
  case materialise(name: String, isOrder: Bool)

  /// What is asked for, as on the wire.
  enum Verb: UInt8 {
    case add = 1
    case list = 2
    case revert = 3
    case materialise = 4
  }

  /// Decodes a whole body; throws a fault that names `verb`, `reserved`, `name`, `order`,
  /// `bodyLength` or the field of an operation.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 4)
    switch try Verb(from: &reader, reservedBytes: 3) {
    case .add:
      try reader.require(atLeast: 8)
      let epoch: UInt64 = try reader.take("epoch")
      let name = try reader.takeDocumentName()
      try reader.require(atLeast: EditOperation.fixedByteCount)
      self = .add(name: name, epoch: epoch, try EditOperation(from: &reader))
    case .list: self = .list(name: try reader.takeDocumentName())
    case .revert:
      try reader.require(atLeast: 8)
      let id: UInt64 = try reader.take("id")
      self = .revert(name: try reader.takeDocumentName(), id: id)
    case .materialise:
      try reader.require(atLeast: 4)
      let order: UInt32 = try reader.take("order")
      guard order <= 1 else {
        throw FieldFault("order", value: UInt64(order), limit: 1, "must be 0 or 1")
      }
      self = .materialise(name: try reader.takeDocumentName(), isOrder: order == 1)
    }
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .add(let name, let epoch, let operation):
      Verb.add.write(reservedBytes: 3, to: &writer)
      writer.put(epoch)
      writer.put(name, limit: Document.nameBytesMax)
      operation.write(to: &writer)
    case .list(let name):
      Verb.list.write(reservedBytes: 3, to: &writer)
      writer.put(name, limit: Document.nameBytesMax)
    case .revert(let name, let id):
      Verb.revert.write(reservedBytes: 3, to: &writer)
      writer.put(id)
      writer.put(name, limit: Document.nameBytesMax)
    case .materialise(let name, let isOrder):
      Verb.materialise.write(reservedBytes: 3, to: &writer)
      writer.put(UInt32(isOrder ? 1 : 0))
      writer.put(name, limit: Document.nameBytesMax)
    }
  }
}

/// The answer to EDIT.
package enum EditResponse: FrameBody {
  /// An operation and the number by which it is reverted.
  package struct Row: Hashable, Sendable {
    /// Not 0; grows with each operation of a document.
    package let id: UInt64
    /// The operation as it is kept: `keep` has come to `drop`.
    package let operation: EditOperation

    /// Smallest encoding.
    fileprivate static let byteCountMin = 8 + EditOperation.fixedByteCount

    /// Puts a row together.
    package init(id: UInt64, operation: EditOperation) {
      self.id = id
      self.operation = operation
    }
  }

  /// The operation is kept under this number.
  case added(id: UInt64)
  /// The operations of a document, in the order in which they came.
  case listed([Row])
  /// So many operations were taken back.
  case reverted(count: Int)
  /// So much of what edits change is kept as it is delivered.
  case materialised(Materialised)

  /// Decodes a whole body; throws a fault that names `verb`, `reserved`, `id`, `count`, `state`,
  /// `total`, `kept`, `bodyLength` or the field of an operation.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: 8)
    switch try EditRequest.Verb(from: &reader, reservedBytes: 7) {
    case .add:
      try reader.require(exactly: 8)
      self = .added(id: try reader.takeNumber("id", above: 0))
    case .list:
      try reader.require(atLeast: 4)
      let count = try reader.takeCount("count", limit: EditOperation.countMax)
      try reader.require(atLeast: count * Row.byteCountMin)
      var rows: [Row] = []
      rows.reserveCapacity(count)
      for _ in 0..<count {
        try reader.require(atLeast: Row.byteCountMin)
        let id = try reader.takeNumber("id", above: rows.last?.id ?? 0)
        let operation = try EditOperation(from: &reader, spansMax: EditOperation.keptSpansMax)
        rows.append(Row(id: id, operation: operation))
      }
      self = .listed(rows)
    case .revert:
      try reader.require(exactly: 4)
      self = .reverted(count: try reader.takeCount("count", limit: EditOperation.countMax))
    case .materialise:
      try reader.require(exactly: 12)
      self = .materialised(try Materialised(from: &reader))
    }
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .added(let id):
      EditRequest.Verb.add.write(reservedBytes: 7, to: &writer)
      writer.put(id)
    case .listed(let rows):
      EditRequest.Verb.list.write(reservedBytes: 7, to: &writer)
      writer.put(UInt32(rows.count))
      for row in rows {
        writer.put(row.id)
        row.operation.write(to: &writer)
      }
    case .reverted(let count):
      EditRequest.Verb.revert.write(reservedBytes: 7, to: &writer)
      writer.put(UInt32(count))
    case .materialised(let material):
      EditRequest.Verb.materialise.write(reservedBytes: 7, to: &writer)
      writer.put(UInt32(material.state.rawValue))
      writer.put(UInt32(material.total))
      writer.put(UInt32(material.kept))
    }
  }
}

extension Materialised {
  /// Most objects that an answer tells of.
  private static let totalMax = 1 << 30

  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    let number: UInt32 = try reader.take("state")
    guard let state = State.allCases.first(where: { UInt32($0.rawValue) == number }) else {
      throw FieldFault("state", value: UInt64(number), limit: 3, "unknown state")
    }
    let total = try reader.takeCount("total", limit: Self.totalMax)
    let kept = try reader.takeCount("kept", limit: total)
    self.init(state, total: total, kept: kept)
  }
}

extension EditRequest.Verb {
  fileprivate init(from reader: inout ByteReader, reservedBytes: Int) throws(FieldFault) {
    let raw: UInt8 = try reader.take("verb")
    guard let verb = Self(rawValue: raw) else {
      throw FieldFault("verb", value: UInt64(raw), limit: 4, "unknown verb")
    }
    try reader.takeReserved(count: reservedBytes)
    self = verb
  }

  fileprivate func write(reservedBytes: Int, to writer: inout ByteWriter) {
    writer.put(rawValue)
    writer.putZeros(reservedBytes)
  }
}
