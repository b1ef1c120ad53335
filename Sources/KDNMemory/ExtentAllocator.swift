/// Hands out extents of one slab in constant time: two-level segregated fit, metadata kept apart.
///
/// Source: Masmano, Ripoll, Crespo, Real, "TLSF: a new dynamic memory allocator for real-time
/// systems" (ECRTS 2004). Offsets only: it never touches the memory it divides.
struct ExtentAllocator {
  /// A piece of the slab; pieces are chained in the order of their offsets.
  private struct Piece {
    var offset: Int
    var byteCount: Int
    var isFree: Bool
    var before: Int32
    var after: Int32
    var previousFree: Int32 = -1
    var nextFree: Int32 = -1
  }

  /// An extent handed out: where it lies, and the record that frees it.
  struct Grant: Equatable, Sendable {
    /// Bytes from the beginning of the slab.
    let offset: Int
    /// Bytes really taken, at least those asked for.
    let byteCount: Int
    fileprivate let piece: Int32

    /// Whether it begins and ends at a page.
    var isWholePages: Bool { offset % pageBytes == 0 && byteCount % pageBytes == 0 }
  }

  /// Every extent begins at a multiple of this, and takes a multiple of it.
  static let granule = 64
  /// Extents of at least this many bytes are whole pages, so that O_DIRECT can use them.
  static let pageAlignedBytesMin = 64 << 10
  static let pageBytes = 4096
  private static let subclassBits = 5
  private static let subclasses = 1 << subclassBits
  private static let classes = 48
  /// Free pieces of the request's own class that are looked at before giving up.
  private static let probesMax = 8

  /// Bytes divided.
  let capacity: Int
  /// Bytes handed out.
  private(set) var allocatedBytes = 0
  /// Extents handed out.
  private(set) var extentCount = 0
  private var pieces: [Piece] = []
  private var unused: [Int32] = []
  private var classBits: UInt64 = 0
  private var subclassMaps = [UInt32](repeating: 0, count: classes)
  private var heads = [Int32](repeating: -1, count: classes * subclasses)

  /// Divides `capacity` bytes, a multiple of the granule.
  init(capacity: Int) {
    precondition(capacity > 0 && capacity % Self.granule == 0, "capacity is whole granules")
    self.capacity = capacity
    pieces.append(
      Piece(offset: 0, byteCount: capacity, isFree: true, before: -1, after: -1))
    link(0)
  }

  /// Takes an extent of at least `byteCount` bytes; nil if no free piece holds it.
  mutating func allocate(byteCount: Int) -> Grant? {
    guard byteCount > 0, byteCount <= capacity else { return nil }
    let alignment = byteCount >= Self.pageAlignedBytesMin ? Self.pageBytes : Self.granule
    let wanted = Self.roundUp(byteCount, to: alignment)
    guard let found = find(wanted, alignment) else { return nil }
    unlink(found)
    let start = Self.roundUp(pieces[Int(found)].offset, to: alignment)
    let piece = splitFront(found, at: start)
    splitBack(piece, keeping: wanted)
    pieces[Int(piece)].isFree = false
    allocatedBytes += wanted
    extentCount += 1
    return Grant(offset: start, byteCount: wanted, piece: piece)
  }

  /// Gives an extent back and joins it with free neighbours.
  mutating func free(_ grant: Grant) {
    var piece = grant.piece
    precondition(
      !pieces[Int(piece)].isFree && pieces[Int(piece)].offset == grant.offset,
      "an extent is freed once")
    allocatedBytes -= pieces[Int(piece)].byteCount
    extentCount -= 1
    pieces[Int(piece)].isFree = true
    let before = pieces[Int(piece)].before
    if before >= 0, pieces[Int(before)].isFree {
      unlink(before)
      absorb(piece, into: before)
      piece = before
    }
    let after = pieces[Int(piece)].after
    if after >= 0, pieces[Int(after)].isFree {
      unlink(after)
      absorb(after, into: piece)
    }
    link(piece)
  }

  /// Length of one of the longest free pieces: none is longer by more than a thirty-second; 0 if
  /// nothing is free.
  var largestFreeBytes: Int {
    guard classBits != 0 else { return 0 }
    let top = 63 - classBits.leadingZeroBitCount
    let sub = 31 - subclassMaps[top].leadingZeroBitCount
    let head = heads[top * Self.subclasses + sub]
    return head < 0 ? 0 : pieces[Int(head)].byteCount
  }

  // MARK: Search

  private func find(_ byteCount: Int, _ alignment: Int) -> Int32? {
    let slack = alignment - Self.granule
    if let piece = firstFit(byteCount + slack) { return piece }
    return probe(byteCount, alignment)
  }

  /// A piece of the smallest class all of whose pieces are long enough.
  private func firstFit(_ byteCount: Int) -> Int32? {
    var (first, second) = Self.classify(Self.roundUpToClass(byteCount))
    guard first < Self.classes else { return nil }
    var map = subclassMaps[first] & (UInt32.max << UInt32(second))
    if map == 0 {
      let above = first + 1 < 64 ? classBits & (UInt64.max << UInt64(first + 1)) : 0
      guard above != 0 else { return nil }
      first = above.trailingZeroBitCount
      map = subclassMaps[first]
    }
    second = map.trailingZeroBitCount
    let head = heads[first * Self.subclasses + second]
    return head < 0 ? nil : head
  }

  /// The class of the request itself, and the one above, may hold a piece that fits exactly.
  private func probe(_ byteCount: Int, _ alignment: Int) -> Int32? {
    let (first, second) = Self.classify(byteCount)
    let start = first * Self.subclasses + second
    for list in start..<min(start + 2, heads.count) {
      var piece = heads[list]
      var probes = 0
      while piece >= 0, probes < Self.probesMax {
        let candidate = pieces[Int(piece)]
        let begin = Self.roundUp(candidate.offset, to: alignment)
        if begin + byteCount <= candidate.offset + candidate.byteCount { return piece }
        piece = candidate.nextFree
        probes += 1
      }
    }
    return nil
  }

  private static func classify(_ byteCount: Int) -> (first: Int, second: Int) {
    let granules = byteCount / granule
    guard granules >= subclasses else { return (0, granules) }
    let log = Int.bitWidth - 1 - granules.leadingZeroBitCount
    return (log - subclassBits + 1, granules >> (log - subclassBits) & (subclasses - 1))
  }

  private static func roundUpToClass(_ byteCount: Int) -> Int {
    let granules = byteCount / granule
    guard granules >= subclasses else { return byteCount }
    let log = Int.bitWidth - 1 - granules.leadingZeroBitCount
    let step = 1 << (log - subclassBits)
    return (granules + step - 1) / step * step * granule
  }

  private static func roundUp(_ value: Int, to alignment: Int) -> Int {
    (value + alignment - 1) / alignment * alignment
  }

  // MARK: Pieces

  private mutating func splitFront(_ piece: Int32, at offset: Int) -> Int32 {
    let front = offset - pieces[Int(piece)].offset
    guard front > 0 else { return piece }
    let rest = insert(after: piece, offset: offset, byteCount: pieces[Int(piece)].byteCount - front)
    pieces[Int(piece)].byteCount = front
    link(piece)
    return rest
  }

  private mutating func splitBack(_ piece: Int32, keeping byteCount: Int) {
    let left = pieces[Int(piece)].byteCount - byteCount
    guard left > 0 else { return }
    let rest = insert(
      after: piece, offset: pieces[Int(piece)].offset + byteCount, byteCount: left)
    pieces[Int(piece)].byteCount = byteCount
    link(rest)
  }

  private mutating func insert(after piece: Int32, offset: Int, byteCount: Int) -> Int32 {
    let next = pieces[Int(piece)].after
    let new = Piece(
      offset: offset, byteCount: byteCount, isFree: true, before: piece, after: next)
    let index: Int32
    if let reused = unused.popLast() {
      index = reused
      pieces[Int(index)] = new
    } else {
      index = Int32(pieces.count)
      pieces.append(new)
    }
    if next >= 0 { pieces[Int(next)].before = index }
    pieces[Int(piece)].after = index
    return index
  }

  private mutating func absorb(_ piece: Int32, into before: Int32) {
    let gone = pieces[Int(piece)]
    pieces[Int(before)].byteCount += gone.byteCount
    pieces[Int(before)].after = gone.after
    if gone.after >= 0 { pieces[Int(gone.after)].before = before }
    unused.append(piece)
  }

  private mutating func link(_ piece: Int32) {
    let (first, second) = Self.classify(pieces[Int(piece)].byteCount)
    let list = first * Self.subclasses + second
    pieces[Int(piece)].isFree = true
    pieces[Int(piece)].previousFree = -1
    pieces[Int(piece)].nextFree = heads[list]
    if heads[list] >= 0 { pieces[Int(heads[list])].previousFree = piece }
    heads[list] = piece
    subclassMaps[first] |= 1 << UInt32(second)
    classBits |= 1 << UInt64(first)
  }

  private mutating func unlink(_ piece: Int32) {
    let (first, second) = Self.classify(pieces[Int(piece)].byteCount)
    let list = first * Self.subclasses + second
    let (previous, next) = (pieces[Int(piece)].previousFree, pieces[Int(piece)].nextFree)
    if previous >= 0 { pieces[Int(previous)].nextFree = next } else { heads[list] = next }
    if next >= 0 { pieces[Int(next)].previousFree = previous }
    guard heads[list] < 0 else { return }
    subclassMaps[first] &= ~(1 << UInt32(second))
    if subclassMaps[first] == 0 { classBits &= ~(1 << UInt64(first)) }
  }
}
