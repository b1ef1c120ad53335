internal import KDNCore

/// Objects that are kept by their names for a while, for whoever loads them then.
struct KeepTable: Sendable {
  typealias Name = WaitTable.Name

  /// One object that is kept.
  struct Row: Sendable {
    let name: Name
    /// What is leased in RAM; nil where the slower tier holds it.
    let object: StoredObject?
    let byteCount: Int
    fileprivate let charge: SharedCharge

    /// The same, as many as there are.
    var objects: [StoredObject] { object.map { [$0] } ?? [] }

    init(_ name: Name, _ object: StoredObject?, byteCount: Int, charge: SharedCharge) {
      self.name = name
      self.object = object
      self.byteCount = byteCount
      self.charge = charge
    }
  }

  /// Bytes charged for a row.
  static let bytesPerRow = 384

  private var rows: [Row?] = []
  private var freeSlots: [Int32] = []
  private var slots: [Name: Int32] = [:]
  private var ends = TenantHeap<Instant>()
  private var bytesByNamespace: [UInt32: Int] = [:]
  /// Bytes of all.
  private(set) var bytes = 0

  /// How many there are.
  var count: Int { slots.count }

  /// Bytes of a namespace that are kept.
  func bytes(of namespace: UInt32) -> Int { bytesByNamespace[namespace] ?? 0 }

  /// Bytes that a name takes already.
  func bytes(of name: Name) -> Int { slots[name].flatMap { rows[Int($0)]?.byteCount } ?? 0 }

  /// Keeps until `end` what is kept already, if it is the same object; false if it is not.
  mutating func extend(_ name: Name, _ object: StoredObject?, until end: Instant) -> Bool {
    guard let slot = slots[name], let row = rows[Int(slot)], row.object === object else {
      return false
    }
    let known = ends.key(of: slot, name.namespace) ?? end
    ends.set(slot, of: name.namespace, max(known, end))
    return true
  }

  /// Keeps an object until `end`; returns what was kept by its name before.
  mutating func add(_ row: Row, until end: Instant) -> Row? {
    let before = slots[row.name].flatMap { take($0) }
    let slot = freeSlots.popLast() ?? Int32(rows.count)
    if Int(slot) == rows.count { rows.append(nil) }
    rows[Int(slot)] = row
    slots[row.name] = slot
    ends.set(slot, of: row.name.namespace, end)
    bytes += row.byteCount
    bytesByNamespace[row.name.namespace, default: 0] += row.byteCount
    return before
  }

  /// Takes out up to `countMax` whose time is over.
  mutating func removeEnded(by now: Instant, countMax: Int) -> [Row] {
    var ended: [Row] = []
    while ended.count < countMax, let first = ends.first, first.key <= now {
      if let row = take(first.slot) { ended.append(row) }
    }
    return ended
  }

  private mutating func take(_ slot: Int32) -> Row? {
    guard let row = rows[Int(slot)] else { return nil }
    rows[Int(slot)] = nil
    freeSlots.append(slot)
    slots[row.name] = nil
    ends.remove(slot, of: row.name.namespace)
    bytes -= row.byteCount
    let left = (bytesByNamespace[row.name.namespace] ?? 0) - row.byteCount
    bytesByNamespace[row.name.namespace] = left > 0 ? left : nil
    return row
  }
}
