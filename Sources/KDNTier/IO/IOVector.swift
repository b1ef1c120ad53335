internal import CPlatform
internal import Glibc

/// The kernel's list of the pieces of one read or write, and how much of it is left to do.
// Safe because: it belongs to one thread at a time, who submits or who does the work.
@safe final class IOVector: @unchecked Sendable {
  /// Most pieces of one read or write: what the kernel takes at once.
  static let piecesMax = 1024

  private let pieces: UnsafeMutablePointer<iovec>
  private let pieceCount: Int
  private var done = 0
  /// Bytes left to do.
  private(set) var byteCount: Int

  /// Lists `pieces`, whose memory stays in place as long as this lives.
  init(_ pieces: [BlockSpan]) {
    precondition(
      !pieces.isEmpty && pieces.count <= Self.piecesMax, "at most \(Self.piecesMax) pieces at once")
    pieceCount = pieces.count
    unsafe self.pieces = .allocate(capacity: pieces.count)
    var total = 0
    for (index, piece) in pieces.enumerated() {
      unsafe (self.pieces + index).initialize(
        to: iovec(iov_base: piece.base, iov_len: piece.byteCount))
      total += piece.byteCount
    }
    byteCount = total
  }

  deinit { unsafe pieces.deallocate() }

  /// The first piece that is left; at its place in memory until this goes.
  @unsafe var next: UnsafeMutablePointer<iovec> { unsafe pieces + done }
  /// How many pieces are left.
  var count: Int { pieceCount - done }

  /// Leaves out the first `byteCount` bytes, which are done.
  func advance(by byteCount: Int) {
    precondition(byteCount <= self.byteCount, "more done than was asked for")
    self.byteCount -= byteCount
    var left = byteCount
    while left > 0 {
      let length = unsafe next.pointee.iov_len
      guard left < length else {
        left -= length
        done += 1
        continue
      }
      unsafe next.pointee.iov_base += left
      unsafe next.pointee.iov_len -= left
      left = 0
    }
  }
}
