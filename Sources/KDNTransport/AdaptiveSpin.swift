/// Decides whether a loop polls for a moment before it blocks; pure, so that tests play the load.
///
/// A blocked thread costs a wake-up, which for a small request is most of its time. Polling pays
/// when the next request is already on its way and wastes a core when it is not, so the decision
/// follows what polling brought lately.
struct AdaptiveSpin {
  /// How long one spin lasts at most, in nanoseconds: a few times what a wake-up costs.
  static let spinNanosecondsMax: UInt64 = 20_000
  /// While spinning does not pay, every so many waits try it again.
  private static let retryEvery = 64
  private static let scoreMax = 16
  private static let scoreToSpin = 8

  private var score = 0
  private var waits = 0

  /// How long to poll before the next wait, in nanoseconds; 0 for not at all.
  mutating func budgetNanoseconds() -> UInt64 {
    waits += 1
    let isTrial = waits % Self.retryEvery == 0
    return score >= Self.scoreToSpin || isTrial ? Self.spinNanosecondsMax : 0
  }

  /// A spin has ended, with work found or in vain; success counts for more than failure, so that
  /// one trial in a busy time brings spinning back.
  mutating func ended(foundWork: Bool) {
    score = foundWork ? min(Self.scoreMax, score + 4) : max(0, score - 1)
  }
}
