/// What an arena is asked to be; what it became is its `placement`.
package struct ArenaConfiguration: Sendable {
  /// Whether something is tried.
  package enum Choice: Sendable {
    /// Tried, and done without if it is not to be had.
    case auto
    /// Not tried.
    case off
  }

  /// Bytes of all slabs together, never exceeded.
  package var capacityBytes: Int
  /// Bytes of one slab.
  package var slabBytes: Int
  /// Huge pages: reserved ones if there are enough, else transparent ones by advice.
  package var hugePages: Choice
  /// Lock slabs into RAM.
  package var lockMemory: Choice
  /// Place slabs on NUMA nodes in turn.
  package var numa: Choice
  /// Make the kernel give all pages at start.
  package var prefault: Bool

  /// Creates the wishes; sizes are rounded down to whole pages and slabs by the arena.
  package init(
    capacityBytes: Int, slabBytes: Int = 64 << 20, hugePages: Choice = .auto,
    lockMemory: Choice = .auto, numa: Choice = .auto, prefault: Bool = true
  ) {
    self.capacityBytes = capacityBytes
    self.slabBytes = slabBytes
    self.hugePages = hugePages
    self.lockMemory = lockMemory
    self.numa = numa
    self.prefault = prefault
  }
}

/// Why an arena could not be made.
package enum ArenaError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The sizes cannot work: `slabBytes` is no positive multiple of a page, or none fits.
  case sizes(capacityBytes: Int, slabBytes: Int)
  /// The kernel refused `bytes` bytes.
  case system(call: String, code: Int32, bytes: Int)

  package var description: String {
    switch self {
    case .sizes(let capacity, let slab):
      "no slab of \(slab) bytes (whole pages) fits into \(capacity) bytes"
    case .system(let call, let code, let bytes): "\(call) of \(bytes) bytes failed: errno \(code)"
    }
  }
}

/// What an arena really obtained.
package struct ArenaPlacement: Equatable, Sendable, CustomStringConvertible {
  /// How many slabs.
  package var slabCount: Int
  /// Bytes of one slab.
  package var slabBytes: Int
  /// Bytes in huge pages, reserved or transparent.
  package var hugeBytes: Int
  /// Bytes locked into RAM.
  package var lockedBytes: Int
  /// NUMA nodes that slabs were placed on; 1 where there is but one.
  package var nodeCount: Int
  /// How long the kernel took to give all pages, in nanoseconds; 0 if it was not asked to.
  package var prefaultNanoseconds: UInt64

  package var description: String {
    "slabs=\(slabCount) slab_bytes=\(slabBytes) huge_bytes=\(hugeBytes) "
      + "locked_bytes=\(lockedBytes) numa_nodes=\(nodeCount) "
      + "prefault_ms=\(prefaultNanoseconds / 1_000_000)"
  }
}

/// An arena's state in numbers.
package struct ArenaStatistics: Equatable, Sendable {
  /// Bytes of all slabs together.
  package var capacityBytes = 0
  /// Bytes handed out.
  package var allocatedBytes = 0
  /// Extents handed out.
  package var extents = 0
  /// Slabs that belong to nobody.
  package var freeSlabs = 0
  /// A longest extent that could be handed out now, about.
  package var largestFreeExtent = 0
  /// Slabs of each owner.
  package var slabsByOwner: [ArenaOwner: Int] = [:]
}

/// Who slabs belong to: a namespace.
package struct ArenaOwner: Hashable, Sendable {
  /// The namespace's number.
  package let number: UInt32

  /// Names an owner.
  package init(number: UInt32) { self.number = number }
}
