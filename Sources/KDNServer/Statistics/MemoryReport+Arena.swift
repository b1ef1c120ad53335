internal import KDNControl
internal import KDNMemory

extension MemoryReport {
  /// The arena's numbers as they are reported.
  init(_ arena: Arena) {
    let statistics = arena.statistics
    self.init(
      capacityBytes: statistics.capacityBytes, allocatedBytes: statistics.allocatedBytes,
      extents: statistics.extents, freeSlabs: statistics.freeSlabs,
      largestFreeExtentBytes: statistics.largestFreeExtent,
      slabBytes: arena.placement.slabBytes, placement: "\(arena.placement)")
  }
}
