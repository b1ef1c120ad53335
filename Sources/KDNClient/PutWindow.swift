internal import KDNMemory

/// Memory that this client writes and the server copies from, and which of its bytes are free.
// Safe because: it lends only places inside the view that it keeps.
@safe struct PutWindow {
  /// Which bytes are free.
  var ring: WindowRing
  private let view: SharedView

  /// Bytes that are asked for: enough for pieces on their way, few enough to stay in the cache.
  static let wantedBytes = 8 << 20
  /// Longest piece that is copied and announced at once, in bytes.
  private static let pieceBytesMax = 1 << 20

  /// Begins with a window that is free.
  init(_ view: SharedView) {
    self.view = view
    ring = WindowRing(byteCount: view.byteCount)
  }

  /// Bytes of one piece: several of them fit, so that client and server work at once.
  var pieceBytes: Int { min(Self.pieceBytesMax, max(1, ring.byteCount / 4)) }
  /// Whether so much was taken that a request should mark it.
  var needsMark: Bool { ring.unmarkedBytes >= max(1, ring.byteCount / 4) }

  /// Copies `places` to `range`, which has been taken; they must be as long.
  func fill(_ range: Range<Int>, from places: [UnsafeRawBufferPointer]) {
    var position = range.lowerBound
    for index in unsafe places.indices {
      let place = unsafe places[index]
      let target = unsafe UnsafeMutableRawBufferPointer(
        rebasing: view.writableBytes[position..<position + place.count])
      unsafe target.copyMemory(from: place)
      position += place.count
    }
    precondition(position == range.upperBound, "the places are as long as the range")
  }

  /// The bytes at `range`.
  func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: view.bytes[range])
  }
}
