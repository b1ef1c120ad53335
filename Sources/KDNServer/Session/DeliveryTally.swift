internal import KDNControl
internal import KDNCore
internal import KDNWire
internal import Synchronization

/// What one answer delivered in which form.
struct DeliveryTally: Equatable, Sendable {
  /// One codec's part.
  struct Share: Equatable, Sendable {
    /// Items sent in it.
    var items: UInt64 = 0
    /// Bytes sent.
    var sentBytes: UInt64 = 0
    /// Bytes that they stand for.
    var rawBytes: UInt64 = 0

    fileprivate mutating func add(_ other: Share) {
      items += other.items
      sentBytes += other.sentBytes
      rawBytes += other.rawBytes
    }
  }

  /// What went raw.
  private(set) var raw = Share()
  /// What went encoded.
  private(set) var encoded: [PayloadCodec: Share] = [:]
  /// Items that were left to be computed again.
  private(set) var recomputed: UInt64 = 0
  /// Items that were refused because only lossy bytes were there.
  private(set) var inexact: UInt64 = 0

  /// Counts a hit.
  mutating func count(_ codec: PayloadCodec, sentBytes: Int, rawBytes: Int) {
    let share = Share(items: 1, sentBytes: UInt64(sentBytes), rawBytes: UInt64(rawBytes))
    if codec == .raw {
      raw.add(share)
    } else {
      encoded[codec, default: Share()].add(share)
    }
  }

  /// Counts a miss, if delivery decided it.
  mutating func count(_ cause: MissCause) {
    switch cause {
    case .recompute: recomputed += 1
    case .inexact: inexact += 1
    default: break
    }
  }
}

/// What all answers delivered; raw bytes, which are most, are counted without a lock.
final class DeliveryCounters: Sendable {
  private let rawItems = Atomic<UInt64>(0)
  private let rawBytes = Atomic<UInt64>(0)
  private let encoded = Guarded<[PayloadCodec: DeliveryTally.Share]>([:])
  private let recomputed = Atomic<UInt64>(0)
  private let inexact = Atomic<UInt64>(0)
  private let adapted = Atomic<UInt64>(0)

  /// Adds an answer.
  func add(_ tally: DeliveryTally) {
    if tally.raw.items > 0 {
      rawItems.add(tally.raw.items, ordering: .relaxed)
      rawBytes.add(tally.raw.sentBytes, ordering: .relaxed)
    }
    if tally.recomputed > 0 { recomputed.add(tally.recomputed, ordering: .relaxed) }
    if tally.inexact > 0 { inexact.add(tally.inexact, ordering: .relaxed) }
    guard !tally.encoded.isEmpty else { return }
    encoded.withLock { shares in
      for (codec, share) in tally.encoded { shares[codec, default: .init()].add(share) }
    }
  }

  /// Counts an answer that was chosen by the deadline.
  func countAdapted() { adapted.add(1, ordering: .relaxed) }

  /// All numbers at about one moment; codecs that were used, raw first.
  var report: DeliveryReport {
    let raw = rawBytes.load(ordering: .relaxed)
    var codecs = [
      DeliveryReport.Codec(
        name: PayloadCodec.raw.name, itemsTotal: rawItems.load(ordering: .relaxed),
        sentBytesTotal: raw, rawBytesTotal: raw)
    ]
    let shares = encoded.withLock { $0 }
    for codec in PayloadCodec.allCases {
      guard let share = shares[codec] else { continue }
      codecs.append(
        DeliveryReport.Codec(
          name: codec.name, itemsTotal: share.items, sentBytesTotal: share.sentBytes,
          rawBytesTotal: share.rawBytes))
    }
    return DeliveryReport(
      codecs: codecs, adaptedTotal: adapted.load(ordering: .relaxed),
      recomputeTotal: recomputed.load(ordering: .relaxed),
      inexactTotal: inexact.load(ordering: .relaxed))
  }
}
