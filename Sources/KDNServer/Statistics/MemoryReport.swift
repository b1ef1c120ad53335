internal import KDNMemory

/// The part of STATS that speaks of the arena: what was asked for and what was really obtained.
struct MemoryReport: Codable {
  let capacityBytes: Int
  let allocatedBytes: Int
  let extents: Int
  let freeSlabs: Int
  let largestFreeExtentBytes: Int
  let slabBytes: Int
  let placement: String

  init(_ arena: Arena) {
    let statistics = arena.statistics
    capacityBytes = statistics.capacityBytes
    allocatedBytes = statistics.allocatedBytes
    extents = statistics.extents
    freeSlabs = statistics.freeSlabs
    largestFreeExtentBytes = statistics.largestFreeExtent
    slabBytes = arena.placement.slabBytes
    placement = "\(arena.placement)"
  }
}
