internal import KDNCore

/// Spaces the answers to wrong tokens from one address, so that guessing is slow.
///
/// Logic only: it says how long to wait, others wait.
struct TokenPacing: Sendable {
  /// Between two answers to wrong tokens from one address, and before the first.
  static let spacingMilliseconds: UInt64 = 100
  /// The longest wait for an answer; an address with more answers than fit is refused unheard.
  static let waitMillisecondsMax: UInt64 = 2000
  /// Addresses remembered at once; all further ones share a place.
  static let addressesMax = 1024

  private static let overflow = "*"
  private var nextAnswers: [String: Instant] = [:]

  /// Whether a token from `address` is looked at now; if not, how many milliseconds later.
  func refusal(of address: String, now: Instant) -> UInt64? {
    guard let next = nextAnswers[place(of: address)] else { return nil }
    let wait = now.milliseconds(until: next)
    let limit = Self.waitMillisecondsMax - Self.spacingMilliseconds
    return wait > limit ? wait - limit : nil
  }

  /// Notes a wrong token; returns in how many milliseconds it is to be answered.
  mutating func noteWrongToken(from address: String, now: Instant) -> UInt64 {
    forgetPast(now: now)
    let place = place(of: address)
    let earliest = max(nextAnswers[place] ?? now, now)
    let answer = earliest.advanced(milliseconds: Self.spacingMilliseconds)
    nextAnswers[place] = answer
    return now.milliseconds(until: answer)
  }

  private func place(of address: String) -> String {
    guard nextAnswers[address] == nil, nextAnswers.count >= Self.addressesMax else {
      return address
    }
    return Self.overflow
  }

  private mutating func forgetPast(now: Instant) {
    guard nextAnswers.count >= Self.addressesMax else { return }
    nextAnswers = nextAnswers.filter { $0.value > now }
  }
}
