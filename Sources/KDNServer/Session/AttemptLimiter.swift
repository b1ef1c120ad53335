internal import KDNCore
internal import KDNTransport

/// When a refused attempt to enter is answered; pure, so that tests play addresses and time.
///
/// Each refusal is answered a fixed time after the attempt, whatever was wrong with it. An address
/// that is refused often gets its answers one after the other; who would have to wait beyond a
/// deadline gets none. What it remembers is bounded: the oldest address is forgotten.
struct AttemptLimiter {
  /// From an attempt to its answer, in milliseconds.
  static let delayMilliseconds: UInt64 = 100
  /// Refusals of one address that are answered without waiting for each other.
  static let burst = 20
  /// From one answer to the next after that: ten a second, in milliseconds.
  static let spacingMilliseconds: UInt64 = 100
  /// Addresses remembered.
  static let addressesMax = 4096

  /// When the burst of each address is whole again.
  private var wholeAgain: [PeerAddress: Instant] = [:]
  /// The addresses in the order in which they came, in a ring once it is full.
  private var order: [PeerAddress] = []
  private var oldest = 0

  /// How many addresses are remembered.
  var addressCount: Int { order.count }

  /// Notes that `peer` is refused.
  ///
  /// - Returns: when to answer; nil if that were after `deadline`: close without an answer.
  mutating func refused(_ peer: PeerAddress, now: Instant, deadline: Instant) -> Instant? {
    let whole = max(now, wholeAgain[peer] ?? now)
    let allowance = Self.spacingMilliseconds * UInt64(Self.burst - 1)
    let turn =
      whole <= now.advanced(milliseconds: allowance)
      ? now : now.advanced(nanoseconds: whole.nanoseconds(since: now) - allowance * 1_000_000)
    let answer = turn.advanced(milliseconds: Self.delayMilliseconds)
    guard answer <= deadline else { return nil }
    remember(peer)
    wholeAgain[peer] = whole.advanced(milliseconds: Self.spacingMilliseconds)
    return answer
  }

  private mutating func remember(_ peer: PeerAddress) {
    guard wholeAgain[peer] == nil else { return }
    guard order.count == Self.addressesMax else {
      order.append(peer)
      return
    }
    wholeAgain[order[oldest]] = nil
    order[oldest] = peer
    oldest = (oldest + 1) % Self.addressesMax
  }
}

extension Instant {
  fileprivate func advanced(nanoseconds more: UInt64) -> Instant {
    let (sum, carried) = nanoseconds.addingReportingOverflow(more)
    return carried ? .never : Instant(nanoseconds: sum)
  }
}
