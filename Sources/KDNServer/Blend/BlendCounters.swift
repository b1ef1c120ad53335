internal import KDNWire
internal import Synchronization

/// Counts orders for blends that are refused for what they ask.
final class BlendCounters: Sendable {
  private let forbiddenCount = Atomic<UInt64>(0)
  private let unknownCount = Atomic<UInt64>(0)
  private let unsuitedCount = Atomic<UInt64>(0)

  /// Orders that name a document which must not be used.
  var forbidden: UInt64 { forbiddenCount.load(ordering: .relaxed) }
  /// Orders that name a document or layout which is not there.
  var unknown: UInt64 { unknownCount.load(ordering: .relaxed) }
  /// Orders for what cannot be blended: other layouts, positions, slots, epochs.
  var unsuited: UInt64 { unsuitedCount.load(ordering: .relaxed) }

  /// Counts an order that is refused in this way.
  func refused(_ status: Status) {
    switch status {
    case .forbidden: forbiddenCount.wrappingAdd(1, ordering: .relaxed)
    case .notFound: unknownCount.wrappingAdd(1, ordering: .relaxed)
    default: unsuitedCount.wrappingAdd(1, ordering: .relaxed)
    }
  }
}
