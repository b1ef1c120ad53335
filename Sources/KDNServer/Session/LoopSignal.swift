internal import KDNTransport

/// Brings what happens on other threads to a session's own loop, if the session still lives.
///
/// Made on that loop, used from any thread. The work may name things that are gone by then:
/// it looks them up.
struct LoopSignal<Served: ServedConnection>: Sendable {
  private let loop: Loop
  private let weakly: WeakSession<Served>

  init(loop: isolated Loop, session: Served) {
    self.loop = loop
    weakly = WeakSession(session)
  }

  /// Runs `work` on the loop, later, unless the session has ended by then.
  func raise(_ work: @escaping @Sendable (Served, isolated Loop) -> Void) {
    loop.post { [weakly] loop in
      guard let session = weakly.session, !session.isClosed else { return }
      work(session, loop)
      session.flush(on: loop)
    }
  }
}

// Safe because: the reference is read only on the session's own loop, inside `post`.
private final class WeakSession<Served: ServedConnection>: @unchecked Sendable {
  private(set) weak var session: Served?

  init(_ session: Served) { self.session = session }
}
