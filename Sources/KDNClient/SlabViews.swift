internal import KDNMemory

/// The slabs of the server that this client has mapped, by their ids; those used last are kept.
///
/// A view that is dropped here lives on as long as somebody reads it.
struct SlabViews {
  private struct Entry {
    let view: SharedView
    var usedAt: UInt64
  }

  /// Most slabs that stay mapped: a client maps no more than this of the kernel's 65,530 areas.
  static let countMax = 1024
  /// Longest slab that is mapped; no server has reason for a longer one.
  static let slabBytesMax = 1 << 40

  private let countMax: Int
  private var entries: [UInt64: Entry] = [:]
  private var uses: UInt64 = 0

  /// Keeps at most `countMax` slabs mapped.
  init(countMax: Int = countMax) {
    precondition(countMax > 0, "a view is kept at least until the next one")
    self.countMax = countMax
  }

  /// Slabs that are mapped.
  var count: Int { entries.count }

  /// The view of a slab, nil if it is not mapped; counts as a use.
  mutating func find(_ slabID: UInt64) -> SharedView? {
    guard entries[slabID] != nil else { return nil }
    uses += 1
    entries[slabID]?.usedAt = uses
    return entries[slabID]?.view
  }

  /// Keeps a view, in place of the one whose last use is longest ago if there are too many.
  mutating func keep(_ view: SharedView, of slabID: UInt64) {
    uses += 1
    entries[slabID] = Entry(view: view, usedAt: uses)
    guard entries.count > countMax,
      let oldest = entries.min(by: { $0.value.usedAt < $1.value.usedAt })
    else { return }
    entries[oldest.key] = nil
  }
}
