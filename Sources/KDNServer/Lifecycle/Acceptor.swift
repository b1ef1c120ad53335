internal import KDNCore
internal import KDNTransport
internal import KDNWire
internal import Synchronization

/// The listeners and sessions of one loop; touched only on that loop.
// Safe because: every member is read and written only inside `post` on the one loop it belongs to.
final class LoopMembers: @unchecked Sendable {
  fileprivate var listeners: [Listener] = []
  fileprivate var sessions: [ObjectIdentifier: Session] = [:]

  /// Stops listening and lets every session go away.
  func drain(on loop: isolated Loop) {
    for listener in listeners { listener.stop(on: loop) }
    listeners.removeAll()
    for session in Array(sessions.values) { session.drain(on: loop) }
  }
}

/// Puts accepted sockets on the loops, in turn, and counts them.
final class Acceptor: Sendable {
  private let context: ServerContext
  private let loops: [Loop]
  private let members: [LoopMembers]
  private let turn = Atomic<Int>(0)

  init(context: ServerContext, loops: [Loop], members: [LoopMembers]) {
    self.context = context
    self.loops = loops
    self.members = members
  }

  /// Binds `endpoint` and begins to accept on the first loop.
  ///
  /// - Returns: the endpoint with the port that the kernel chose.
  /// - Throws: if the address is not to be had.
  func listen(on endpoint: Endpoint) throws(TransportError) -> Endpoint {
    let log = context.log
    let listener = try ListenerBox(
      Listener(
        endpoint, accepted: { [self] number, _ in distribute(number) },
        troubled: { log.error("cannot accept", metadata: ["error": "\($0)"]) }))
    let bound = listener.value.endpoint
    let members = members[0]
    loops[0].post { loop in
      do {
        try listener.value.start(on: loop)
        members.listeners.append(listener.value)
      } catch {
        log.critical("cannot watch a listener", metadata: ["error": "\(error)"])
      }
    }
    return bound
  }

  private func distribute(_ number: Int32) {
    let index = turn.wrappingAdd(1, ordering: .relaxed).oldValue % loops.count
    let members = members[index]
    loops[index].post { [context] loop in
      Self.serve(number, context, members, on: loop)
    }
  }

  private static func serve(
    _ number: Int32, _ context: ServerContext, _ members: LoopMembers, on loop: isolated Loop
  ) {
    let isAdmitted = context.counters.admitConnection(limit: context.connectionsMax)
    let session = Session(owning: number, context: context, now: loop.now())
    guard isAdmitted else {
      return session.refuseConnection(
        .tooManyConnections, "connections", limit: context.connectionsMax, on: loop)
    }
    guard !context.isDraining else {
      context.counters.connectionEnded()
      return session.refuseConnection(.draining, "connections", limit: 0, on: loop)
    }
    let name = ObjectIdentifier(session)
    members.sessions[name] = session
    session.start(on: loop) { [context, members] in
      members.sessions[name] = nil
      context.counters.connectionEnded()
    }
  }
}

// Safe because: the listener is made on one thread, then handed to its loop and used only there.
private final class ListenerBox: @unchecked Sendable {
  let value: Listener

  init(_ value: Listener) { self.value = value }
}
