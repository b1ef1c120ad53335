/// Which slab belongs to whom and what is taken of it; the arena's lock guards it.
struct SlabTable {
  /// One slot of the table: a slab, or a hole whose memory went into an oversize slab.
  private struct Slot {
    var slab: Slab?
    var allocator: ExtentAllocator
    /// Who may use it now; nil while it is empty.
    var owner: ArenaOwner?
    /// Who has written into this slab; another owner gets a fresh one.
    var lastOwner: ArenaOwner?
    /// Slots whose memory this oversize slab took; empty for an ordinary one.
    var borrowed: [Int] = []
  }

  /// What `take` found.
  struct Taken: Sendable {
    let slab: Slab
    let grant: ExtentAllocator.Grant
    let slot: Int
  }

  private let slabBytes: Int
  private var slots: [Slot]
  private var freeSlots: [Int]
  private var slotsOfOwner: [ArenaOwner: [Int]] = [:]
  private var unusedOversize: [Int] = []
  private var allocatedBytes = 0
  private var extents = 0

  init(slabs: [Slab], slabBytes: Int) {
    self.slabBytes = slabBytes
    slots = slabs.map {
      Slot(slab: $0, allocator: ExtentAllocator(capacity: slabBytes))
    }
    freeSlots = Array(slabs.indices.reversed())
  }

  /// Takes an extent for `owner`; nil if there is no room.
  mutating func take(_ byteCount: Int, _ owner: ArenaOwner, _ factory: SlabFactory) -> Taken? {
    guard byteCount <= slabBytes else { return takeOversize(byteCount, owner, factory) }
    // A small object in a large one's slab would keep the memory of several from everybody.
    for slot in slotsOfOwner[owner] ?? [] where slots[slot].borrowed.isEmpty {
      if let taken = take(byteCount, from: slot) { return taken }
    }
    guard let slot = popFreeSlot(for: owner) else { return nil }
    guard adopt(slot, owner, factory) else {
      freeSlots.append(slot)
      return nil
    }
    return take(byteCount, from: slot)
  }

  /// Gives an extent back; a slab that is empty then belongs to nobody.
  mutating func give(_ grant: ExtentAllocator.Grant, _ slot: Int, _ factory: SlabFactory) {
    allocatedBytes -= grant.byteCount
    extents -= 1
    slots[slot].allocator.free(grant)
    guard slots[slot].allocator.extentCount == 0, let owner = slots[slot].owner else { return }
    slots[slot].owner = nil
    slotsOfOwner[owner]?.removeAll { $0 == slot }
    if slotsOfOwner[owner]?.isEmpty == true { slotsOfOwner[owner] = nil }
    if slots[slot].borrowed.isEmpty {
      freeSlots.append(slot)
    } else {
      dissolve(slot, factory)
    }
  }

  /// All slabs that there are now.
  var slabs: [Slab] { slots.compactMap(\.slab) }

  /// The state in numbers.
  var statistics: ArenaStatistics {
    var statistics = ArenaStatistics()
    statistics.capacityBytes = slabBytes * (slots.count - oversizeCount)
    statistics.allocatedBytes = allocatedBytes
    statistics.extents = extents
    statistics.freeSlabs = freeSlots.count
    statistics.largestFreeExtent =
      freeSlots.isEmpty
      ? slots.lazy.filter { $0.slab != nil }.map(\.allocator.largestFreeBytes).max() ?? 0
      : slabBytes * freeSlots.count
    statistics.slabsByOwner = slotsOfOwner.mapValues(\.count)
    return statistics
  }

  private var oversizeCount: Int {
    slots.lazy.filter { !$0.borrowed.isEmpty }.count + unusedOversize.count
  }

  private mutating func take(_ byteCount: Int, from slot: Int) -> Taken? {
    guard let slab = slots[slot].slab,
      let grant = slots[slot].allocator.allocate(byteCount: byteCount)
    else { return nil }
    allocatedBytes += grant.byteCount
    extents += 1
    return Taken(slab: slab, grant: grant, slot: slot)
  }

  /// Takes a free slab: one that the owner had before, else one that nobody had, for only those
  /// need no fresh memory; else one that no client has mapped, for that memory comes back.
  private mutating func popFreeSlot(for owner: ArenaOwner) -> Int? {
    let choice =
      freeSlots.lastIndex { slots[$0].lastOwner == owner }
      ?? freeSlots.lastIndex { slots[$0].lastOwner == nil }
      ?? freeSlots.lastIndex { slots[$0].slab?.isShared != true } ?? freeSlots.indices.last
    return choice.map { freeSlots.remove(at: $0) }
  }

  /// Makes a free slab the owner's; its memory is fresh unless the owner had it before.
  private mutating func adopt(_ slot: Int, _ owner: ArenaOwner, _ factory: SlabFactory) -> Bool {
    let isForeign = slots[slot].lastOwner.map { $0 != owner } ?? false
    if isForeign || slots[slot].slab == nil {
      // The old memory goes before the new one comes, so that the cap holds at all times.
      slots[slot].slab = nil
      slots[slot].lastOwner = nil
      guard let fresh = factory.remake(slabBytes, number: slot) else { return false }
      slots[slot].slab = fresh
    }
    slots[slot].owner = owner
    slots[slot].lastOwner = owner
    slotsOfOwner[owner, default: []].append(slot)
    return true
  }

  // MARK: Objects larger than a slab

  /// One large slab takes the place of several free ones.
  private mutating func takeOversize(
    _ byteCount: Int, _ owner: ArenaOwner, _ factory: SlabFactory
  ) -> Taken? {
    let needed = (byteCount + slabBytes - 1) / slabBytes
    guard freeSlots.count >= needed else { return nil }
    let borrowed = Array(freeSlots.suffix(needed))
    freeSlots.removeLast(needed)
    for slot in borrowed {
      slots[slot].slab = nil
      slots[slot].lastOwner = nil
    }
    let bytes = needed * slabBytes
    guard let slab = factory.remake(bytes, number: borrowed[0]) else {
      freeSlots.append(contentsOf: borrowed)
      return nil
    }
    let slot = unusedOversize.popLast() ?? slots.count
    let made = Slot(
      slab: slab, allocator: ExtentAllocator(capacity: bytes), owner: owner,
      lastOwner: owner, borrowed: borrowed)
    if slot == slots.count { slots.append(made) } else { slots[slot] = made }
    slotsOfOwner[owner, default: []].append(slot)
    return take(byteCount, from: slot)
  }

  /// An oversize slab is empty: its memory goes, and the slots it was made of are free again.
  private mutating func dissolve(_ slot: Int, _ factory: SlabFactory) {
    slots[slot].slab = nil
    freeSlots.append(contentsOf: slots[slot].borrowed)
    slots[slot].borrowed = []
    unusedOversize.append(slot)
  }
}
