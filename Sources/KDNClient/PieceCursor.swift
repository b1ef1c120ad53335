internal import KDNCore

/// Walks over bytes that lie in several places.
// Safe because: it lends only places inside the pieces it was given.
@safe struct PieceCursor {
  private let pieces: [UnsafeRawBufferPointer]
  private var index = 0
  private var offset = 0

  /// Most places in one step, so that one vectored write takes them with what goes around them.
  static let placesMax = StreamSocket.piecesMax - 2

  /// Starts at the first byte.
  init(_ pieces: [UnsafeRawBufferPointer]) { unsafe self.pieces = pieces }

  /// The places of the next bytes, at most `limit` of them, and how many bytes they are.
  mutating func next(limit: Int) -> (places: [UnsafeRawBufferPointer], byteCount: Int) {
    var places: [UnsafeRawBufferPointer] = unsafe []
    var byteCount = 0
    while unsafe index < pieces.count, byteCount < limit, unsafe places.count < Self.placesMax {
      let count = unsafe min(limit - byteCount, pieces[index].count - offset)
      if count > 0 {
        unsafe places.append(
          UnsafeRawBufferPointer(rebasing: pieces[index][offset..<offset + count]))
      }
      byteCount += count
      offset += count
      guard unsafe offset == pieces[index].count else { continue }
      index += 1
      offset = 0
    }
    return unsafe (places, byteCount)
  }
}
