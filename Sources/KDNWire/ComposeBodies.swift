package import KDNCore

/// COMPOSE: documents that are to stand in one prompt.
package struct ComposeRequest: FrameBody {
  /// Facts that are one bit each.
  package struct Flags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The first token of each document but the first is left out; its position stays a hole.
    package static let dropFirst = Flags(rawValue: 1)
    /// The documents' edits are applied.
    package static let edits = Flags(rawValue: 2)
    /// Documents but the first are read as they were settled: a settling's name follows.
    package static let settled = Flags(rawValue: 4)
    /// All that this build knows.
    package static let known: Flags = [.dropFirst, .edits, .settled]
  }

  /// A document in the blend.
  package struct Piece: Hashable, Sendable {
    /// Its name.
    package let name: String
    /// The publication that is meant; 0 for whichever there is.
    package let epoch: UInt64
    /// Positions reserved for it; 0 for as many as it has tokens.
    package let slot: Int

    /// Smallest encoding: epoch, slot and an empty name.
    fileprivate static let byteCountMin = 14

    /// Puts a piece together.
    package init(name: String, epoch: UInt64 = 0, slot: Int = 0) {
      self.name = name
      self.epoch = epoch
      self.slot = slot
    }
  }

  /// The layout of all documents.
  package let layout: LayoutID
  /// Facts of one bit; `settled` exactly if there is a settling.
  package let flags: Flags
  /// Names the settling of which the documents but the first have chunks; nil: as computed alone.
  package let settling: ChunkHash?
  /// Position of the first token.
  package let firstPosition: Int
  /// Thousandths of the tokens that the caller can afford to compute anew.
  package let recomputePermille: Int
  /// The documents, in order.
  package let pieces: [Piece]
  /// Names that must not be among them.
  package let forbidden: [String]

  /// Most documents of a blend.
  package static let piecesMax = 64
  /// Most names that must not be used.
  package static let forbiddenMax = 64
  /// Positions are at most this.
  package static let positionMax = Int(Int32.max)
  private static let fixedByteCount = 32

  /// Puts a request together; its numbers must be within the limits of the protocol.
  package init(
    layout: LayoutID, pieces: [Piece], flags: Flags = [.dropFirst, .edits], firstPosition: Int = 0,
    recomputePermille: Int = 0, forbidden: [String] = [], settling: ChunkHash? = nil
  ) {
    self.layout = layout
    self.flags = settling == nil ? flags.subtracting(.settled) : flags.union(.settled)
    self.settling = settling
    self.firstPosition = firstPosition
    self.recomputePermille = recomputePermille
    self.pieces = pieces
    self.forbidden = forbidden
  }

  /// Decodes a whole body; throws a fault that names `flags`, `firstPosition`, `recomputePermille`,
  /// `count`, `forbidden`, `slot`, `name`, `reserved` or `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedByteCount)
    layout = try LayoutID(from: &reader)
    flags = Flags(rawValue: try reader.take("flags"))
    guard flags.isSubset(of: .known) else {
      throw FieldFault(
        "flags", value: UInt64(flags.rawValue), limit: UInt64(Flags.known.rawValue),
        "unknown flags")
    }
    firstPosition = try reader.takeCount("firstPosition", limit: Self.positionMax)
    recomputePermille = try reader.takeShortCount("recomputePermille", limit: 1000)
    let count = try reader.takeShortCount("count", least: 1, limit: Self.piecesMax)
    let forbiddenCount = try reader.takeShortCount("forbidden", limit: Self.forbiddenMax)
    try reader.takeZero(UInt16.self)
    if flags.contains(.settled) {
      try reader.require(atLeast: ChunkHash.byteCount)
      settling = try ChunkHash(from: &reader)
    } else {
      settling = nil
    }
    try reader.require(atLeast: count * Piece.byteCountMin + forbiddenCount * 2)
    var pieces: [Piece] = []
    pieces.reserveCapacity(count)
    for _ in 0..<count { pieces.append(try Piece(from: &reader)) }
    self.pieces = pieces
    var forbidden: [String] = []
    forbidden.reserveCapacity(forbiddenCount)
    for _ in 0..<forbiddenCount { forbidden.append(try reader.takeDocumentName()) }
    self.forbidden = forbidden
    try reader.require(exactly: 0)
  }

  package func write(to writer: inout ByteWriter) {
    layout.write(to: &writer)
    writer.put(flags.rawValue)
    writer.put(UInt32(firstPosition))
    writer.put(UInt16(recomputePermille))
    writer.put(UInt16(pieces.count))
    writer.put(UInt16(forbidden.count))
    writer.put(UInt16(0))
    settling?.write(to: &writer)
    for piece in pieces { piece.write(to: &writer) }
    for name in forbidden { writer.put(name, limit: Document.nameBytesMax) }
  }
}

extension ComposeRequest.Piece {
  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.byteCountMin)
    epoch = try reader.take("epoch")
    slot = try reader.takeCount("slot", limit: ComposeRequest.positionMax)
    name = try reader.takeDocumentName()
  }

  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(epoch)
    writer.put(UInt32(slot))
    writer.put(name, limit: Document.nameBytesMax)
  }
}
