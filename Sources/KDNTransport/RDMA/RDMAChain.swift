/// Cuts one transfer into work requests, in order: pure arithmetic.
///
/// Local memory is a list of pieces, remote memory one run of bytes. A work request moves at most
/// `requestBytesMax` bytes and names at most `piecesMax` pieces.
package struct RDMAChain: Equatable, Sendable {
  /// A part of a piece that a work request names.
  package struct Part: Equatable, Sendable {
    /// Index of the piece.
    package let piece: Int
    /// First byte within the piece.
    package let offset: Int
    /// Bytes of it.
    package let byteCount: Int
  }

  /// One work request.
  package struct Request: Equatable, Sendable {
    /// First byte within the remote run.
    package let remoteOffset: Int
    /// Where the bytes lie on this side, in order.
    package let parts: [Part]
    /// Bytes that it moves.
    package var byteCount: Int { parts.reduce(0) { $0 + $1.byteCount } }
  }

  /// No single work request moves more, whatever the device promises.
  package static let requestBytesCap = 1 << 30

  private let pieces: [Int]
  private let requestBytesMax: Int
  private let piecesMax: Int
  private var piece = 0
  private var offset = 0
  /// Bytes that earlier requests move.
  package private(set) var movedBytes = 0
  /// Bytes of the whole transfer.
  package let byteCount: Int

  /// Prepares a transfer of pieces with these lengths in bytes; empty ones are passed over.
  package init(pieces: [Int], requestBytesMax: Int, piecesMax: Int) {
    precondition(requestBytesMax > 0 && piecesMax > 0, "a work request moves something")
    precondition(pieces.allSatisfy { $0 >= 0 }, "a piece has no negative length")
    self.pieces = pieces
    self.requestBytesMax = min(requestBytesMax, Self.requestBytesCap)
    self.piecesMax = piecesMax
    byteCount = pieces.reduce(0, +)
  }

  /// True if nothing is left to be moved.
  package var isDone: Bool { movedBytes == byteCount }

  /// The next work request; nil if nothing is left.
  package mutating func next() -> Request? {
    guard !isDone else { return nil }
    let start = movedBytes
    var parts: [Part] = []
    var room = requestBytesMax
    while room > 0, parts.count < piecesMax, piece < pieces.count {
      let count = min(room, pieces[piece] - offset)
      if count > 0 { parts.append(Part(piece: piece, offset: offset, byteCount: count)) }
      room -= count
      offset += count
      movedBytes += count
      guard offset == pieces[piece] else { continue }
      piece += 1
      offset = 0
    }
    return Request(remoteOffset: start, parts: parts)
  }

  /// Whether `byteCount` bytes from `address` on lie in the address space without wrapping.
  package static func fits(address: UInt64, byteCount: Int) -> Bool {
    !address.addingReportingOverflow(UInt64(byteCount)).overflow
  }
}
