/// What the process has used of the machine.
package struct ProcessReport: Codable, Sendable {
  /// Its number.
  package var pid: Int32
  /// User and system time.
  package var cpuSeconds: Double
  /// Resident memory now.
  package var residentBytes: Int
  /// The most that it ever was.
  package var residentBytesMax: Int
  /// Descriptors open now.
  package var openFiles: Int
  /// How many may be.
  package var openFilesMax: Int
  /// Threads now.
  package var threads: Int

  /// Puts the numbers together.
  package init(
    pid: Int32, cpuSeconds: Double, residentBytes: Int, residentBytesMax: Int, openFiles: Int,
    openFilesMax: Int, threads: Int
  ) {
    self.pid = pid
    self.cpuSeconds = cpuSeconds
    self.residentBytes = residentBytes
    self.residentBytesMax = residentBytesMax
    self.openFiles = openFiles
    self.openFilesMax = openFilesMax
    self.threads = threads
  }
}

/// The arena: what was asked for and what was really obtained.
package struct MemoryReport: Codable, Sendable {
  /// Size of the arena.
  package var capacityBytes: Int
  /// Bytes of it that are handed out.
  package var allocatedBytes: Int
  /// How many pieces that is.
  package var extents: Int
  /// Slabs that belong to nobody.
  package var freeSlabs: Int
  /// About the longest piece that could be handed out now.
  package var largestFreeExtentBytes: Int
  /// Size of one slab.
  package var slabBytes: Int
  /// Huge pages, locking and NUMA as obtained, in words.
  package var placement: String

  /// Puts the numbers together.
  package init(
    capacityBytes: Int, allocatedBytes: Int, extents: Int, freeSlabs: Int,
    largestFreeExtentBytes: Int, slabBytes: Int, placement: String
  ) {
    self.capacityBytes = capacityBytes
    self.allocatedBytes = allocatedBytes
    self.extents = extents
    self.freeSlabs = freeSlabs
    self.largestFreeExtentBytes = largestFreeExtentBytes
    self.slabBytes = slabBytes
    self.placement = placement
  }
}
