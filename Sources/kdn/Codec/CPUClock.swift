internal import Glibc

/// Processor time of this program: what coding costs, whatever else the machine does.
struct CPUClock {
  private let start = clock()

  /// Seconds since the clock was made.
  var seconds: Double { Double(clock() - start) / Double(CLOCKS_PER_SEC) }
}
