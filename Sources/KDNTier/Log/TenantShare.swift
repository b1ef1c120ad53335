internal import KDNCore

/// What one tenant has in the index, in numbers and in order; all objects but those whose TTL was
/// noticed to be over.
struct TenantShare: Sendable {
  /// An object by its place in the order.
  struct Place: Ranked {
    let rank: UInt64
    let key: ObjectKey
  }

  var usage = TierUsage()
  /// Bytes of objects that are pinned or held.
  var boundBytes = 0
  /// All of them; they were stored in this order, as far as this run knows.
  var places = RankedList<Place>()
  /// Up to this rank all are pinned or held; nil: the first may be neither.
  var boundThrough: UInt64?

  /// Adds what an object counts, or takes it off.
  mutating func count(_ entry: IndexEntry, _ sign: Int) {
    usage.objects += sign
    usage.bytes += sign * entry.storedBytes
    if entry.isPinned {
      usage.pinnedObjects += sign
      usage.pinnedBytes += sign * entry.storedBytes
    }
    if entry.isBound { boundBytes += sign * entry.storedBytes }
  }

  /// Notes that an object of this rank is neither pinned nor held.
  mutating func unbind(_ rank: UInt64) {
    if let bound = boundThrough, rank <= bound { boundThrough = rank > 0 ? rank - 1 : nil }
  }
}

/// When the TTL of an object is over.
struct ObjectEnd: Ranked {
  struct Rank: Comparable, Sendable {
    let milliseconds: UInt64
    let namespace: UInt32
    let order: UInt64

    static func < (left: Rank, right: Rank) -> Bool {
      (left.milliseconds, left.order, left.namespace)
        < (right.milliseconds, right.order, right.namespace)
    }
  }

  let rank: Rank
}
