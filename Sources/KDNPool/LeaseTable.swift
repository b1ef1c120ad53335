internal import KDNCore

/// Leases of matches: which objects, whose, until when.
final class LeaseRecord: Sendable {
  let number: UInt64
  let owner: OwnerID
  let deadline: Instant
  let objects: [StoredObject]
  private let charge: IndexCharge

  /// Bytes charged for a lease of `count` objects.
  static func byteCount(objects count: Int) -> Int { 256 + 8 * count }

  init(
    number: UInt64, owner: OwnerID, deadline: Instant, objects: [StoredObject],
    charge: consuming IndexCharge
  ) {
    self.number = number
    self.owner = owner
    self.deadline = deadline
    self.objects = objects
    self.charge = charge
  }
}

/// All leases, by number, by owner and by end.
struct LeaseTable: Sendable {
  private var records: [LeaseRecord?] = []
  private var freeSlots: [Int32] = []
  private var slots: [UInt64: Int32] = [:]
  private var numbers: [OwnerID: Set<UInt64>] = [:]
  private var ends = IndexedHeap<Instant>()
  private var lastNumber: UInt64 = 0

  /// How many leases there are.
  var count: Int { slots.count }
  /// When the next lease ends.
  var nextEnd: Instant? { ends.first?.key }

  /// How many leases `owner` has.
  func count(of owner: OwnerID) -> Int { numbers[owner]?.count ?? 0 }

  /// Adds a lease and returns its number, never 0 and never used twice.
  mutating func add(
    owner: OwnerID, deadline: Instant, objects: [StoredObject], charge: consuming IndexCharge
  ) -> UInt64 {
    lastNumber += 1
    let record = LeaseRecord(
      number: lastNumber, owner: owner, deadline: deadline, objects: objects, charge: charge)
    let slot = freeSlots.popLast() ?? Int32(records.count)
    if Int(slot) == records.count { records.append(nil) }
    records[Int(slot)] = record
    slots[lastNumber] = slot
    numbers[owner, default: []].insert(lastNumber)
    ends.set(slot, deadline)
    return lastNumber
  }

  /// Takes a lease out, if it is there and `owner`'s.
  mutating func remove(_ number: UInt64, owner: OwnerID) -> LeaseRecord? {
    guard let slot = slots[number], records[Int(slot)]?.owner == owner else { return nil }
    return take(slot)
  }

  /// Takes out all leases of `owner`.
  mutating func removeAll(of owner: OwnerID) -> [LeaseRecord] {
    (numbers[owner] ?? []).sorted().compactMap { remove($0, owner: owner) }
  }

  /// Takes out up to `countMax` leases that have ended.
  mutating func removeEnded(by now: Instant, countMax: Int) -> [LeaseRecord] {
    var ended: [LeaseRecord] = []
    while ended.count < countMax, let (end, slot) = ends.first, end <= now {
      if let record = take(slot) { ended.append(record) }
    }
    return ended
  }

  private mutating func take(_ slot: Int32) -> LeaseRecord? {
    guard let record = records[Int(slot)] else { return nil }
    records[Int(slot)] = nil
    freeSlots.append(slot)
    slots[record.number] = nil
    ends.remove(slot)
    numbers[record.owner]?.remove(record.number)
    if numbers[record.owner]?.isEmpty == true { numbers[record.owner] = nil }
    return record
  }
}
