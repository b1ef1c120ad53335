internal import KDNCore

/// Stands between loop and session: completions are always looked at, while the session hears of
/// input only if it wants any.
final class RDMAWatcher: LoopMember {
  private let link: RDMALink
  /// Whom it tells; nil once the watch is over.
  var member: (any LoopMember)?
  /// The loop's name for the watch.
  var token: UInt64 = 0

  init(link: RDMALink, member: any LoopMember) {
    self.link = link
    self.member = member
  }

  func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
    guard let member else { return }
    member.ready(readable: link.hasNews(), writable: true, on: loop)
  }

  func tick(now: Instant, on loop: isolated Loop) -> Instant {
    member?.tick(now: now, on: loop) ?? .never
  }
}
