internal import KDNCore
internal import NIOCore

/// The connections that are open, up to a number.
final class ConnectionRegistry: Sendable {
  /// What becomes of a new connection.
  enum Admission: Sendable {
    case served
    /// Is told that there are too many.
    case turnedAway
    /// Is closed at once: too many are being told.
    case refused
  }

  private struct State: Sendable {
    var served: [ObjectIdentifier: ConnectionHandle] = [:]
    var turnedAway: [ObjectIdentifier: ConnectionHandle] = [:]
    var isQuiescing = false

    var all: [ConnectionHandle] { Array(served.values) + Array(turnedAway.values) }
  }

  private let state = Guarded(State())

  /// What becomes of one more connection, if `max` are served at once and as many turned away.
  ///
  /// Call it on the event loop that all connections share, and `keep` before it returns there.
  func admit(max: Int) -> Admission {
    state.withLock { state in
      guard !state.isQuiescing else { return .refused }
      guard state.served.count >= max else { return .served }
      return state.turnedAway.count < max ? .turnedAway : .refused
    }
  }

  /// Keeps a connection until it is closed.
  ///
  /// - Throws: if it is refused.
  func keep(_ handle: ConnectionHandle, _ admission: Admission) throws {
    guard admission != .refused else { throw ChannelError.inputClosed }
    let id = ObjectIdentifier(handle.channel)
    state.withLock { state in
      switch admission {
      case .served: state.served[id] = handle
      case .turnedAway: state.turnedAway[id] = handle
      case .refused: break
      }
    }
    handle.channel.closeFuture.whenComplete { _ in self.drop(id) }
  }

  /// Lets all end as soon as they have answered, and admits no more.
  func quiesce() {
    let handles = state.withLock { state in
      state.isQuiescing = true
      return state.all
    }
    for handle in handles { handle.quiesce() }
  }

  /// Ends all.
  func close() {
    for handle in state.withLock({ $0.all }) { handle.close() }
  }

  private func drop(_ id: ObjectIdentifier) {
    state.withLock { state in
      state.served[id] = nil
      state.turnedAway[id] = nil
    }
  }
}
