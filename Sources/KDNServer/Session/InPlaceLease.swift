internal import DequeModule
internal import KDNCore
internal import KDNMemory
internal import KDNPool

/// What one GET lends in place: extents that nobody moves or reuses while it lives.
final class InPlaceLease {
  /// Bytes that the GET selected of them.
  private(set) var byteCount = 0
  /// Most leases are of one extent, which then takes no memory of its own.
  private var first: ReadLease?
  private var others = UniqueDeque<ReadLease>()

  init() {}

  /// Adds an extent of which `byteCount` bytes are lent.
  func append(_ lease: consuming ReadLease, byteCount: Int) {
    self.byteCount += byteCount
    if first == nil {
      first = consume lease
    } else {
      others.append(lease)
    }
  }

  /// Extents lent.
  var extentCount: Int { (first == nil ? 0 : 1) + others.count }

  /// Calls `body` with the slab of each extent.
  func forEachSlab(_ body: (Slab) -> Void) {
    if let slab = first?.lease.block.slab { body(slab) }
    for index in 0..<others.count { body(others[index].lease.block.slab) }
  }
}
