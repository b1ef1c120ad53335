/// Which bytes of a window are free: taken in order, and free again in order.
///
/// The server has copied all that was sent in front of a request when it answers the request. So a
/// request marks what was taken before it, and its answer frees that.
struct WindowRing {
  private struct Mark {
    let requestID: UInt64
    let taken: Int
  }

  /// Length of the window, in bytes.
  let byteCount: Int
  /// Bytes taken and freed since the beginning.
  private var taken = 0
  private var freed = 0
  private var marked = 0
  private var marks: [Mark] = []

  /// Begins with a window that is free.
  init(byteCount: Int) {
    precondition(byteCount > 0, "a window has bytes")
    self.byteCount = byteCount
  }

  /// Bytes taken since the last mark: no request that waits for its answer frees them.
  var unmarkedBytes: Int { taken - marked }
  /// Bytes that are taken.
  var takenBytes: Int { taken - freed }

  /// Takes the next bytes, at most `limit`; nil if all are taken.
  mutating func take(limit: Int) -> Range<Int>? {
    precondition(limit > 0, "nothing is not taken")
    let start = taken % byteCount
    let count = min(limit, byteCount - takenBytes, byteCount - start)
    guard count > 0 else { return nil }
    taken += count
    return start..<start + count
  }

  /// Once the request is answered, all bytes that are taken now are free.
  mutating func mark(_ requestID: UInt64) {
    guard unmarkedBytes > 0 else { return }
    marks.append(Mark(requestID: requestID, taken: taken))
    marked = taken
  }

  /// The request was answered, in whichever way.
  mutating func answered(_ requestID: UInt64) {
    guard let index = marks.firstIndex(where: { $0.requestID == requestID }) else { return }
    freed = marks[index].taken
    marks.removeFirst(index + 1)
  }
}
