internal import KDNCore

/// Remembers why objects that are gone went, in a fixed amount of memory.
///
/// Sets of eight fingerprints; a new one pushes the oldest of its set out. A fingerprint that
/// collides names a wrong cause for a miss and nothing worse.
struct GhostTable: Sendable {
  private static let waysPerSet = 8
  private static let causeMask: UInt64 = 0xFF

  /// 56 bits of fingerprint above 8 bits of cause, the youngest of a set first; 0 for none.
  private var entries: [UInt64]
  private let setMask: UInt64

  /// Makes room for at least `count` ghosts.
  init(entries count: Int) {
    entries = Array(repeating: 0, count: Self.byteCount(entries: count) / 8)
    setMask = UInt64(entries.count / Self.waysPerSet - 1)
  }

  /// Bytes that a table for `count` ghosts takes.
  static func byteCount(entries count: Int) -> Int {
    var sets = 1
    while sets * waysPerSet < count { sets *= 2 }
    return sets * waysPerSet * MemoryLayout<UInt64>.size
  }

  /// Why the object of `fingerprint` went; nil if that is not known.
  func cause(of fingerprint: UInt64) -> MissCause? {
    for way in ways(of: fingerprint) where Self.isSame(entries[way], fingerprint) {
      return MissCause(rawValue: UInt8(entries[way] & Self.causeMask))
    }
    return nil
  }

  /// Notes that the object of `fingerprint` went for `cause`.
  mutating func note(_ fingerprint: UInt64, _ cause: MissCause) {
    let ways = ways(of: fingerprint)
    let known = ways.first { Self.isSame(entries[$0], fingerprint) || entries[$0] == 0 }
    var way = known ?? ways.upperBound - 1
    while way > ways.lowerBound {
      entries[way] = entries[way - 1]
      way -= 1
    }
    entries[way] = fingerprint & ~Self.causeMask | UInt64(cause.rawValue)
  }

  private static func isSame(_ entry: UInt64, _ fingerprint: UInt64) -> Bool {
    entry & causeMask != 0 && entry & ~causeMask == fingerprint & ~causeMask
  }

  private func ways(of fingerprint: UInt64) -> Range<Int> {
    let first = Int(fingerprint >> 8 & setMask) * Self.waysPerSet
    return first..<first + Self.waysPerSet
  }
}
