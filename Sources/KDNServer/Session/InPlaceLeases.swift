internal import KDNCore
internal import KDNMemory
internal import KDNWire

/// All that one connection reads in place, by number; pure, so that tests play the time.
struct InPlaceLeases {
  /// Most leases of one connection, and most extents of them together.
  static let countMax = 4096
  static let extentsMax = 65_536

  private struct Entry {
    let lease: InPlaceLease
    let ends: Instant
  }

  private struct SlabUse {
    let slab: Slab
    var extents: Int
  }

  private var entries: [UInt64: Entry] = [:]
  private var slabs: [UInt64: SlabUse] = [:]
  /// Its bit tells their numbers from those of MATCH's leases.
  private var lastNumber = InPlaceAnswer.leaseBit
  /// Bytes lent.
  private(set) var byteCount = 0
  /// Extents lent.
  private(set) var extentCount = 0
  /// When the first lease ends; never later than it does.
  private(set) var nextEnd = Instant.never

  /// Leases held.
  var count: Int { entries.count }

  /// Memory that a lease of so many extents takes, in bytes.
  static func recordBytes(extents: Int) -> Int { 256 + 16 * extents }

  /// Memory that all of them take, in bytes.
  var recordBytes: Int { entries.count * Self.recordBytes(extents: 0) + 16 * extentCount }

  /// Bytes that one more lease may lend within `creditBytes`; 0 if there may be none.
  func room(within creditBytes: Int) -> Int {
    guard entries.count < Self.countMax, extentCount < Self.extentsMax else { return 0 }
    return max(0, creditBytes - byteCount)
  }

  /// Holds a lease until `ends`; returns its number, never used twice.
  mutating func add(_ lease: InPlaceLease, until ends: Instant) -> UInt64 {
    lastNumber += 1
    entries[lastNumber] = Entry(lease: lease, ends: ends)
    byteCount += lease.byteCount
    extentCount += lease.extentCount
    nextEnd = min(nextEnd, ends)
    lease.forEachSlab { slabs[$0.id, default: SlabUse(slab: $0, extents: 0)].extents += 1 }
    return lastNumber
  }

  /// Ends a lease before its time; false if there is none of that number.
  mutating func release(_ number: UInt64) -> Bool {
    guard let entry = entries.removeValue(forKey: number) else { return false }
    byteCount -= entry.lease.byteCount
    extentCount -= entry.lease.extentCount
    entry.lease.forEachSlab { slab in
      slabs[slab.id]?.extents -= 1
      if slabs[slab.id]?.extents == 0 { slabs[slab.id] = nil }
    }
    if entries.isEmpty { nextEnd = .never }
    return true
  }

  /// Ends the leases whose time is over.
  mutating func expire(now: Instant) {
    guard nextEnd <= now else { return }
    for number in entries.filter({ $0.value.ends <= now }).keys { _ = release(number) }
    nextEnd = entries.values.map(\.ends).min() ?? .never
  }

  /// The slab of this number, if something of it is lent now.
  func slab(_ id: UInt64) -> Slab? { slabs[id]?.slab }

  /// Ends all.
  mutating func removeAll() {
    self = InPlaceLeases(continuing: lastNumber)
  }

  init() {}

  private init(continuing number: UInt64) { lastNumber = number }
}
