internal import KDNCore

/// Leases of matches: which objects, whose, until when.
final class LeaseRecord: Sendable {
  /// Names it among its owner's.
  let number: UInt64
  let owner: OwnerID
  let namespace: UInt32
  let deadline: Instant
  let objects: [StoredObject]
  private let charge: IndexCharge

  /// Bytes charged for a lease of `count` objects.
  static func byteCount(objects count: Int) -> Int { 256 + 8 * count }

  init(
    number: UInt64, owner: OwnerID, namespace: UInt32, deadline: Instant,
    objects: [StoredObject], charge: consuming IndexCharge
  ) {
    self.number = number
    self.owner = owner
    self.namespace = namespace
    self.deadline = deadline
    self.objects = objects
    self.charge = charge
  }
}

/// All leases, by owner and number, and by end.
///
/// Owners number their leases each for itself: a number tells nothing of what others do.
struct LeaseTable: Sendable {
  private struct Owner: Sendable {
    var lastNumber: UInt64 = 0
    /// Slots of its leases, by number.
    var slots: [UInt64: Int32] = [:]
  }

  private var records: [LeaseRecord?] = []
  private var freeSlots: [Int32] = []
  private var owners: [OwnerID: Owner] = [:]
  private var ends = TenantHeap<Instant>()

  /// How many leases there are.
  var count: Int { ends.count }

  /// When the next lease of a namespace ends.
  func nextEnd(of namespace: Namespace) -> Instant? { ends.first(of: namespace.number)?.key }

  /// How many leases `owner` has.
  func count(of owner: OwnerID) -> Int { owners[owner]?.slots.count ?? 0 }

  /// Adds a lease and returns its number, never 0 and never used twice by its owner.
  mutating func add(
    owner: OwnerID, namespace: UInt32, deadline: Instant, objects: [StoredObject],
    charge: consuming IndexCharge
  ) -> UInt64 {
    let number = (owners[owner]?.lastNumber ?? 0) + 1
    let record = LeaseRecord(
      number: number, owner: owner, namespace: namespace, deadline: deadline, objects: objects,
      charge: charge)
    let slot = freeSlots.popLast() ?? Int32(records.count)
    if Int(slot) == records.count { records.append(nil) }
    records[Int(slot)] = record
    owners[owner, default: Owner()].lastNumber = number
    owners[owner]?.slots[number] = slot
    ends.set(slot, of: namespace, deadline)
    return number
  }

  /// Takes a lease out, if `owner` has one of that number.
  mutating func remove(_ number: UInt64, owner: OwnerID) -> LeaseRecord? {
    guard let slot = owners[owner]?.slots[number] else { return nil }
    return take(slot)
  }

  /// Takes out all leases of `owner`, who is gone.
  mutating func removeAll(of owner: OwnerID) -> [LeaseRecord] {
    let numbers = owners[owner]?.slots.keys.sorted() ?? []
    let removed = numbers.compactMap { remove($0, owner: owner) }
    owners[owner] = nil
    return removed
  }

  /// Takes out up to `countMax` leases that have ended.
  mutating func removeEnded(by now: Instant, countMax: Int) -> [LeaseRecord] {
    var ended: [LeaseRecord] = []
    while ended.count < countMax, let first = ends.first, first.key <= now {
      if let record = take(first.slot) { ended.append(record) }
    }
    return ended
  }

  private mutating func take(_ slot: Int32) -> LeaseRecord? {
    guard let record = records[Int(slot)] else { return nil }
    records[Int(slot)] = nil
    freeSlots.append(slot)
    owners[record.owner]?.slots[record.number] = nil
    ends.remove(slot, of: record.namespace)
    return record
  }
}
