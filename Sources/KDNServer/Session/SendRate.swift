internal import KDNCore

/// How fast a connection takes bytes, measured over the times when some were waiting.
struct SendRate {
  /// Shorter bursts mostly fill the kernel's buffer and say nothing of the link.
  private static let burstBytesMin: UInt64 = 4 << 20
  /// Weight of the newest burst in the average.
  private static let newestWeight = 0.25

  private var bytesPerSecond = 0.0
  private var burstStart: (sent: UInt64, at: Instant)?

  /// Notes that bytes are waiting, `sent` having been sent so far.
  mutating func busy(sent: UInt64, now: Instant) {
    if burstStart == nil { burstStart = (sent, now) }
  }

  /// Notes that all is sent, `sent` bytes so far.
  mutating func idle(sent: UInt64, now: Instant) {
    guard let start = burstStart else { return }
    burstStart = nil
    let nanoseconds = now.nanoseconds(since: start.at)
    guard sent - start.sent >= Self.burstBytesMin, nanoseconds > 0 else { return }
    let rate = Double(sent - start.sent) * 1e9 / Double(nanoseconds)
    bytesPerSecond =
      bytesPerSecond == 0
      ? rate : bytesPerSecond * (1 - Self.newestWeight) + rate * Self.newestWeight
  }

  /// Bytes a second; nil while nothing has been measured.
  var perSecond: Double? { bytesPerSecond == 0 ? nil : bytesPerSecond }

  /// How long `bytes` will take; 0 while nothing has been measured.
  func microseconds(for bytes: Int) -> UInt64 {
    bytesPerSecond == 0 ? 0 : UInt64(Double(bytes) * 1e6 / bytesPerSecond)
  }
}
