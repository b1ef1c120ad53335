internal import KDNCore
internal import KDNMemory
internal import KDNTier
internal import Synchronization

/// The slower tier of a pool and what stands between the two.
final class Backing: Sendable {
  let tier: any Tier
  /// Room for reads when RAM is full.
  let staging: Arena?
  let wallClock: any WallClock
  let admission: Guarded<any AdmissionPolicy>
  let writes: Guarded<WriteQueue>
  let fetches = Guarded(FetchTable())
  let diskHits = Atomic<UInt64>(0)
  /// Whether nothing more is taken for the tier; a flag, so that a hit in RAM meets no lock.
  private let closing = Atomic<Bool>(false)
  /// Whether `tick` has seen the tier ready.
  let wasReady = Atomic<Bool>(false)

  init(
    tier: any Tier, staging: Arena?, wallClock: any WallClock, admission: any AdmissionPolicy,
    _ configuration: PoolConfiguration
  ) {
    self.tier = tier
    self.staging = staging
    self.wallClock = wallClock
    self.admission = Guarded(admission)
    writes = Guarded(
      WriteQueue(
        objectsMax: configuration.writeBehindObjectsMax,
        bytesMax: configuration.writeBehindBytesMax,
        bytesPerDay: configuration.writeBytesPerDay))
  }

  /// Whether nothing more is read from or written to the tier.
  var isClosing: Bool { closing.load(ordering: .acquiring) }

  func startClosing() { closing.store(true, ordering: .releasing) }

  /// Bytes of memory charged once.
  func fixedBytes(_ configuration: PoolConfiguration) -> Int {
    (staging?.statistics.capacityBytes ?? 0) + configuration.writeQueueBytes
  }

  /// What the tier holds of an object that RAM lacks; nil if it does not, or does not know yet.
  func held(_ key: ObjectKey, in namespace: Namespace) -> HeldFacts? {
    guard case .held(let facts) = tier.find(key, in: namespace.name) else { return nil }
    return facts
  }

  /// Why an object that RAM missed for `cause` is missed in both tiers.
  ///
  /// RAM knows for sure what was purged or ended; of all else the tier knows better. What it holds
  /// could be had by fetching it first.
  func missCause(_ key: ObjectKey, in namespace: Namespace, inRAM cause: MissCause) -> MissCause {
    switch tier.find(key, in: namespace.name) {
    case .notReady, .held: return .notReady
    case .absent(let known):
      guard cause != .purged, cause != .expired else { return cause }
      return known ?? cause
    }
  }
}
