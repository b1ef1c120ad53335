/// How fast the disk tier delivers what a request reads, as requests have seen it.
struct ReadRate {
  /// Smaller reads tell of latency, not of speed.
  static let bytesMin = 256 << 10
  /// Weight of the newest request in the average.
  private static let newestWeight = 0.25
  /// A disk that turns.
  private static let assumedPerSecond = 100e6

  private var bytesPerSecond = 0.0

  /// Notes that a request's reads of `bytes` together took so long.
  mutating func note(_ bytes: Int, nanoseconds: UInt64) {
    guard bytes >= Self.bytesMin, nanoseconds > 0 else { return }
    let rate = Double(bytes) * 1e9 / Double(nanoseconds)
    bytesPerSecond =
      bytesPerSecond == 0
      ? rate : bytesPerSecond * (1 - Self.newestWeight) + rate * Self.newestWeight
  }

  /// Bytes a second; what a slow disk reads while nothing has been measured.
  var perSecond: Double { bytesPerSecond == 0 ? Self.assumedPerSecond : bytesPerSecond }

  /// How long reading `bytes` will take; nil while nothing has been measured.
  func microseconds(for bytes: Int) -> UInt64? {
    bytesPerSecond == 0 ? nil : UInt64(Double(bytes) * 1e6 / bytesPerSecond)
  }
}
