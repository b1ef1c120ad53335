internal import KDNControl
internal import KDNCore
internal import Synchronization

/// The requests of late that took longest; says nothing of keys, names and tokens.
final class SlowLog: Sendable {
  /// Requests remembered.
  static let capacity = 128

  private let ring = Guarded(Ring())
  private let threshold: Atomic<UInt64>

  /// Remembers what takes longer than `thresholdMilliseconds`; nothing for 0.
  init(thresholdMilliseconds: Int) {
    threshold = Atomic(Self.nanoseconds(thresholdMilliseconds))
  }

  /// Changes what counts as slow; 0 remembers nothing.
  func setThreshold(milliseconds: Int) {
    threshold.store(Self.nanoseconds(milliseconds), ordering: .relaxed)
  }

  /// Whether a request that took so long is to be noted.
  func isSlow(nanoseconds: UInt64) -> Bool { nanoseconds > threshold.load(ordering: .relaxed) }

  /// Remembers a request; the oldest one is forgotten if there is no room.
  func note(_ request: SlowRequest) {
    ring.withLock { $0.append(request) }
  }

  /// What is remembered, the newest first.
  var entries: [SlowRequest] { ring.withLock { $0.newestFirst } }

  private static func nanoseconds(_ milliseconds: Int) -> UInt64 {
    milliseconds <= 0 ? .max : UInt64(milliseconds) * 1_000_000
  }

  private struct Ring {
    private var entries: [SlowRequest] = []
    private var oldest = 0

    mutating func append(_ request: SlowRequest) {
      guard entries.count == SlowLog.capacity else {
        entries.append(request)
        return
      }
      entries[oldest] = request
      oldest = (oldest + 1) % SlowLog.capacity
    }

    var newestFirst: [SlowRequest] { (entries[oldest...] + entries[..<oldest]).reversed() }
  }
}
