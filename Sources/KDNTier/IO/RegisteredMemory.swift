internal import Glibc

/// Memory that a ring keeps hold of, in ranges as the kernel takes them.
package struct RegisteredMemory: Sendable {
  // What the kernel takes: so long a range, and so many.
  private static let rangeBytesMax = 1 << 30
  private static let rangesMax = 1 << 14

  /// In ascending order; none empty, no two overlap.
  private(set) var ranges: [Range<UInt>] = []

  /// None.
  package init() {}

  /// Names `memory`, of which no two overlap; it must stay mapped as long as the ring.
  @unsafe package init(_ memory: [UnsafeRawBufferPointer]) {
    for index in unsafe memory.indices {
      let area = unsafe memory[index]
      let start = UInt(bitPattern: area.baseAddress)
      let end = start + UInt(area.count)
      for from in stride(from: start, to: end, by: Self.rangeBytesMax) {
        ranges.append(from..<min(end, from + UInt(Self.rangeBytesMax)))
      }
    }
    ranges.sort { $0.lowerBound < $1.lowerBound }
    ranges = Array(ranges.prefix(Self.rangesMax))
  }

  /// The number of the range that has all of `piece` in it.
  func index(of piece: iovec) -> Int32? {
    let start = UInt(bitPattern: unsafe piece.iov_base)
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound <= start { low = middle + 1 } else { high = middle }
    }
    guard low < ranges.count, ranges[low].contains(start),
      unsafe ranges[low].upperBound - start >= UInt(piece.iov_len)
    else { return nil }
    return Int32(low)
  }

  /// The piece's length, as far as one work goes.
  static func length(of piece: iovec) -> UInt32 {
    UInt32(unsafe min(piece.iov_len, rangeBytesMax))
  }
}
