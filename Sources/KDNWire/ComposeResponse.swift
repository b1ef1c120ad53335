package import KDNCore

/// The answer to COMPOSE: where each token of the assembled KV comes from and stands.
///
/// The KV itself is in ordinary objects, one a layer, under the blend's hash.
package struct ComposeResponse: FrameBody {
  /// A document's place in the blend.
  package struct Piece: Hashable, Sendable {
    /// The publication that was used.
    package let epoch: UInt64
    /// Tokens of the document.
    package let tokenCount: Int
    /// Position of its token 0, kept or not.
    package let firstPosition: Int
    /// Row of its first kept token.
    package let firstRow: Int
    /// Tokens that were left out.
    package let dropped: TokenSpans
    /// Kept tokens that the caller should compute anew.
    package let recompute: TokenSpans

    /// Bytes in front of the ranges.
    fileprivate static let fixedByteCount = 24
    /// Most ranges of a kind.
    package static let rangesMax = 1024

    /// Puts a place together.
    package init(
      epoch: UInt64, tokenCount: Int, firstPosition: Int, firstRow: Int, dropped: TokenSpans,
      recompute: TokenSpans
    ) {
      self.epoch = epoch
      self.tokenCount = tokenCount
      self.firstPosition = firstPosition
      self.firstRow = firstRow
      self.dropped = dropped
      self.recompute = recompute
    }

    /// Tokens that were not left out.
    package var keptCount: Int { tokenCount - dropped.tokenCount }
  }

  /// Names the blend: the hash in the keys of its objects.
  package let hash: ChunkHash
  /// Tokens of the assembled KV.
  package let rowCount: Int
  /// The position behind the last slot.
  package let endPosition: Int
  /// Bytes of the assembled KV over all layers.
  package let byteCount: Int
  /// Tokens that the caller should compute anew.
  package let recomputeTokens: Int
  /// The documents, in order.
  package let pieces: [Piece]

  /// Most ranges of both kinds over all pieces: an answer fits a body of the default length.
  package static let rangesMax = 1 << 16
  private static let fixedByteCount = 56

  /// Puts an answer together; what it says of rows and positions must agree with its pieces.
  package init(
    hash: ChunkHash, rowCount: Int, endPosition: Int, byteCount: Int, recomputeTokens: Int,
    pieces: [Piece]
  ) {
    self.hash = hash
    self.rowCount = rowCount
    self.endPosition = endPosition
    self.byteCount = byteCount
    self.recomputeTokens = recomputeTokens
    self.pieces = pieces
  }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names `rowCount`, `endPosition`, `byteCount`, `recomputeTokens`,
  ///   `count`, `tokenCount`, `firstPosition`, `firstRow`, `dropped`, `recompute`, `ranges`,
  ///   `reserved` or `bodyLength`: also if they do not agree with each other.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedByteCount)
    hash = try ChunkHash(from: &reader)
    rowCount = try reader.takeCount("rowCount", least: 1, limit: ComposeRequest.positionMax)
    endPosition = try reader.takeCount(
      "endPosition", least: 1, limit: ComposeRequest.positionMax + 1)
    byteCount = try reader.takeByteCount("byteCount", least: 1, limit: .max)
    recomputeTokens = try reader.takeCount("recomputeTokens", limit: rowCount)
    let count = try reader.takeShortCount("count", least: 1, limit: ComposeRequest.piecesMax)
    try reader.takeZero(UInt16.self)
    try reader.require(atLeast: count * Piece.fixedByteCount)
    var pieces: [Piece] = []
    pieces.reserveCapacity(count)
    for _ in 0..<count { pieces.append(try Piece(from: &reader)) }
    self.pieces = pieces
    try reader.require(exactly: 0)
    try checkAgreement()
  }

  package func write(to writer: inout ByteWriter) {
    hash.write(to: &writer)
    writer.put(UInt32(rowCount))
    writer.put(UInt32(endPosition))
    writer.put(UInt64(byteCount))
    writer.put(UInt32(recomputeTokens))
    writer.put(UInt16(pieces.count))
    writer.put(UInt16(0))
    for piece in pieces { piece.write(to: &writer) }
  }

  /// Rows follow each other without a gap, and pieces do not overlap.
  private func checkAgreement() throws(FieldFault) {
    var (row, position, recomputed, ranges) = (0, 0, 0, 0)
    for piece in pieces {
      ranges += piece.dropped.count + piece.recompute.count
      guard piece.firstRow == row else {
        throw FieldFault("firstRow", value: piece.firstRow, limit: row, "rows have no gaps")
      }
      guard piece.firstPosition >= position else {
        throw FieldFault(
          "firstPosition", value: piece.firstPosition, limit: position, "overlaps the piece before")
      }
      row += piece.keptCount
      position = piece.firstPosition + piece.tokenCount
      recomputed += piece.recompute.tokenCount
    }
    guard ranges <= Self.rangesMax else {
      throw FieldFault("ranges", value: ranges, limit: Self.rangesMax, "too many over all pieces")
    }
    guard row == rowCount else {
      throw FieldFault("rowCount", value: rowCount, limit: row, "is not what the pieces keep")
    }
    guard position <= endPosition else {
      throw FieldFault("endPosition", value: endPosition, limit: position, "a piece ends behind it")
    }
    guard recomputed == recomputeTokens else {
      throw FieldFault(
        "recomputeTokens", value: recomputeTokens, limit: recomputed, "is not what the pieces say")
    }
  }
}

extension ComposeResponse.Piece {
  fileprivate init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedByteCount)
    epoch = try reader.take("epoch")
    tokenCount = try reader.takeCount("tokenCount", least: 1, limit: ComposeRequest.positionMax)
    firstPosition = try reader.takeCount("firstPosition", limit: ComposeRequest.positionMax)
    firstRow = try reader.takeCount("firstRow", limit: ComposeRequest.positionMax)
    let droppedCount = try reader.takeShortCount("dropped", limit: Self.rangesMax)
    let recomputeCount = try reader.takeShortCount("recompute", limit: Self.rangesMax)
    try reader.require(
      atLeast: (droppedCount + recomputeCount) * TokenSpans.rangeByteCount)
    dropped = try TokenSpans(from: &reader, count: droppedCount, field: "dropped")
    recompute = try TokenSpans(from: &reader, count: recomputeCount, field: "recompute")
    guard dropped.end <= tokenCount, dropped.tokenCount < tokenCount else {
      throw FieldFault(
        "dropped", value: dropped.end, limit: tokenCount, "more than the tokens, or all of them")
    }
    guard recompute.end <= tokenCount, !recompute.intersects(dropped) else {
      throw FieldFault(
        "recompute", value: recompute.end, limit: tokenCount, "tokens that are not kept")
    }
  }

  fileprivate func write(to writer: inout ByteWriter) {
    writer.put(epoch)
    writer.put(UInt32(tokenCount))
    writer.put(UInt32(firstPosition))
    writer.put(UInt32(firstRow))
    writer.put(UInt16(dropped.count))
    writer.put(UInt16(recompute.count))
    dropped.write(to: &writer)
    recompute.write(to: &writer)
  }
}
