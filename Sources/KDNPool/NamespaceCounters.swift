package import KDNCore
internal import Synchronization

/// What a tenant did and had done to it, since the start; any thread may count.
///
/// Each count is one relaxed addition.
package final class NamespaceCounters: Sendable {
  /// How many numbers of statuses errors are counted for.
  package static let statusCountMax = 32
  private static let causeCountMax = 16

  private let ramHits = Atomic<UInt64>(0)
  private let diskHits = Atomic<UInt64>(0)
  private let misses: InlineArray<16, Atomic<UInt64>>
  private let stores = Atomic<UInt64>(0)
  private let storedBytes = Atomic<UInt64>(0)
  private let evictions = Atomic<UInt64>(0)
  private let evictedBytes = Atomic<UInt64>(0)
  private let quotaRefusals = Atomic<UInt64>(0)
  private let requests = Atomic<UInt64>(0)
  private let errors: InlineArray<32, Atomic<UInt64>>
  private let receivedBytes = Atomic<UInt64>(0)
  private let sentBytes = Atomic<UInt64>(0)
  private let connections = Atomic<Int>(0)
  private let rateRefusals = Atomic<UInt64>(0)

  init() {
    misses = InlineArray { _ in Atomic(0) }
    errors = InlineArray { _ in Atomic(0) }
  }

  // MARK: What the pool counts

  func countRAMHit() { ramHits.wrappingAdd(1, ordering: .relaxed) }

  func countDiskHit() { diskHits.wrappingAdd(1, ordering: .relaxed) }

  func countMiss(_ cause: MissCause) {
    misses[Int(cause.rawValue) % Self.causeCountMax].wrappingAdd(1, ordering: .relaxed)
  }

  func countStore(bytes: Int) {
    stores.wrappingAdd(1, ordering: .relaxed)
    storedBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
  }

  func countEviction(bytes: Int) {
    evictions.wrappingAdd(1, ordering: .relaxed)
    evictedBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
  }

  func countQuotaRefusal() { quotaRefusals.wrappingAdd(1, ordering: .relaxed) }

  // MARK: What connections count

  /// Counts a request that came in whole.
  package func countRequest() { requests.wrappingAdd(1, ordering: .relaxed) }

  /// Counts an answer of a status other than success; numbers beyond `statusCountMax` are not kept.
  package func countError(status: UInt16) {
    guard status < Self.statusCountMax else { return }
    errors[Int(status)].wrappingAdd(1, ordering: .relaxed)
  }

  /// Counts bytes that came over a connection.
  package func countReceived(_ bytes: UInt64) {
    receivedBytes.wrappingAdd(bytes, ordering: .relaxed)
  }

  /// Counts bytes that went over a connection.
  package func countSent(_ bytes: UInt64) { sentBytes.wrappingAdd(bytes, ordering: .relaxed) }

  /// Counts connections that opened, or closed if `change` is negative.
  package func countConnections(_ change: Int) {
    connections.wrappingAdd(change, ordering: .relaxed)
  }

  /// Counts a request or connection that was turned away because a rate or number was over its
  /// limit.
  package func countRateRefusal() { rateRefusals.wrappingAdd(1, ordering: .relaxed) }

  /// How many connections are open.
  package var openConnections: Int { connections.load(ordering: .relaxed) }

  /// All counts; each is right, but they are read one after the other.
  package var snapshot: NamespaceCounts {
    var counts = NamespaceCounts()
    counts.ramHits = ramHits.load(ordering: .relaxed)
    counts.diskHits = diskHits.load(ordering: .relaxed)
    for cause in MissCause.allCases {
      counts.misses[cause] = misses[Int(cause.rawValue)].load(ordering: .relaxed)
    }
    counts.stores = stores.load(ordering: .relaxed)
    counts.storedBytes = storedBytes.load(ordering: .relaxed)
    counts.evictions = evictions.load(ordering: .relaxed)
    counts.evictedBytes = evictedBytes.load(ordering: .relaxed)
    counts.quotaRefusals = quotaRefusals.load(ordering: .relaxed)
    counts.requests = requests.load(ordering: .relaxed)
    for status in 0..<Self.statusCountMax {
      counts.errors[status] = errors[status].load(ordering: .relaxed)
    }
    counts.receivedBytes = receivedBytes.load(ordering: .relaxed)
    counts.sentBytes = sentBytes.load(ordering: .relaxed)
    counts.connections = openConnections
    counts.rateRefusals = rateRefusals.load(ordering: .relaxed)
    return counts
  }
}

/// A picture of a tenant's counters.
package struct NamespaceCounts: Equatable, Sendable {
  /// Lookups that RAM answered.
  package var ramHits: UInt64 = 0
  /// Lookups that the slower tier answered.
  package var diskHits: UInt64 = 0
  /// Lookups that missed, by cause; all causes.
  package var misses: [MissCause: UInt64] = [:]
  /// Objects published.
  package var stores: UInt64 = 0
  /// Their bytes.
  package var storedBytes: UInt64 = 0
  /// Objects that made room for others.
  package var evictions: UInt64 = 0
  /// Their bytes.
  package var evictedBytes: UInt64 = 0
  /// Stores and pins that a quota refused.
  package var quotaRefusals: UInt64 = 0
  /// Requests that came in.
  package var requests: UInt64 = 0
  /// Answers other than success, by the number of their status.
  package var errors = [UInt64](repeating: 0, count: NamespaceCounters.statusCountMax)
  /// Bytes that came in.
  package var receivedBytes: UInt64 = 0
  /// Bytes that went out.
  package var sentBytes: UInt64 = 0
  /// Connections that are open.
  package var connections = 0
  /// Requests and connections turned away because a rate or number was over its limit.
  package var rateRefusals: UInt64 = 0

  /// Starts with nothing counted.
  package init() {}
}
