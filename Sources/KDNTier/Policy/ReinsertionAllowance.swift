/// How much of the oldest segment may be written anew: half of it on average, and what earlier
/// segments left over, within a limit.
///
/// What is left over lets a chain that fills several segments survive whole; cut in two, its rest
/// would be worthless. In the long run no more than half of what is reclaimed is written anew, pins
/// and holds aside.
package struct ReinsertionAllowance: Sendable {
  private let segmentBytes: Int
  private let savedBytesMax: Int
  private var bytes = 0

  /// Creates an allowance of which nothing is saved yet.
  ///
  /// - Parameters:
  ///   - segmentBytes: what the records of a segment may take; more than 0.
  ///   - savedSegments: how many segments' worth may be left over; at most twice as many segments
  ///     in a row are then reclaimed without room being won.
  package init(segmentBytes: Int, savedSegments: Int = 4) {
    precondition(segmentBytes > 0 && savedSegments >= 0, "there are no segments of nothing")
    self.segmentBytes = segmentBytes
    savedBytesMax = segmentBytes * savedSegments
  }

  /// What may survive, in bytes, of the segment that is reclaimed next; call it once for each.
  package mutating func next() -> Int {
    bytes = min(bytes, savedBytesMax) + segmentBytes / 2
    return min(bytes, segmentBytes)
  }

  /// Takes off what did survive; more than was allowed, such as pins, leaves nothing over.
  package mutating func spend(_ survivingBytes: Int) {
    precondition(survivingBytes >= 0, "nothing gives bytes back to an allowance")
    bytes = max(0, bytes - survivingBytes)
  }
}
