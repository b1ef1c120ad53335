internal import KDNCore
internal import KDNTransport
internal import KDNWire
internal import Synchronization

/// The listeners and sessions of one loop; touched only on that loop.
// Safe because: every member is read and written only inside `post` on the one loop it belongs to.
final class LoopMembers: @unchecked Sendable {
  fileprivate var listeners: [Listener] = []
  fileprivate var sessions: [ObjectIdentifier: any ServedConnection] = [:]

  /// Lets every session look at the clock at once, and whether it may go on at all.
  func tick(on loop: isolated Loop) {
    let now = loop.now()
    for session in Array(sessions.values) { _ = session.tick(now: now, on: loop) }
  }

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
  let loops: [Loop]
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
  func listen(
    on endpoint: Endpoint, as kind: LinkKind, unixMode: UInt32
  ) throws(TransportError) -> Endpoint {
    start(
      try ListenerBox(
        Listener(
          endpoint, unixMode: unixMode,
          accepted: { [self] number, _ in distribute(number, kind) }, troubled: troubled)))
  }

  /// Begins to accept from a socket that was passed; what waits at it when the daemon ends is left
  /// to the next one.
  ///
  /// - Throws: if it is no socket of that kind any more.
  func adopt(_ passed: PassedSockets.Entry) throws(TransportError) -> Endpoint {
    let kind = passed.kind
    return start(
      try ListenerBox(
        Listener(
          adopting: passed.socket.number,
          accepted: { [self] number, _ in distribute(number, kind) }, troubled: troubled)))
  }

  private var troubled: (TransportError) -> Void {
    let log = context.log
    return { log.error("cannot accept", metadata: ["error": "\($0)"]) }
  }

  private func start(_ box: ListenerBox) -> Endpoint {
    let bound = box.value.endpoint
    let members = members[0]
    let log = context.log
    loops[0].post { loop in
      do {
        try box.value.start(on: loop)
        members.listeners.append(box.value)
      } catch {
        log.critical("cannot watch a listener", metadata: ["error": "\(error)"])
      }
    }
    return bound
  }

  private func distribute(_ number: Int32, _ kind: LinkKind) {
    let index = turn.wrappingAdd(1, ordering: .relaxed).oldValue % loops.count
    let values = context.settings.values
    // Counted before it is handed on, so that a drain waits for it on whichever loop it arrives.
    let isAdmitted = context.counters.admitConnection(limit: values.connectionsMax)
    loops[index].post { [self] loop in
      serve(number, kind, index, values, isAdmitted: isAdmitted, on: loop)
    }
  }

  private func serve(
    _ number: Int32, _ kind: LinkKind, _ index: Int, _ values: LiveValues, isAdmitted: Bool,
    on loop: isolated Loop
  ) {
    let session: any ServedConnection =
      if kind == .resp {
        RESPSession(owning: number, loop: index, context: context, now: loop.now())
      } else {
        Session(
          over: Link(owning: number, security: kind == .tls ? values.security : nil), kind: kind,
          loop: index, context: context, now: loop.now())
      }
    serve(session, onLoop: index, isAdmitted: isAdmitted, on: loop)
  }

  /// Serves a connection on the loop of this number, or tells it why not; `isAdmitted` says whether
  /// `admitConnection` had a place for it.
  func serve(
    _ session: any ServedConnection, onLoop index: Int, isAdmitted: Bool, on loop: isolated Loop
  ) {
    let members = members[index]
    let name = ObjectIdentifier(session)
    members.sessions[name] = session
    guard isAdmitted else {
      return session.refuse(
        .tooManyConnections, "connections", limit: context.connectionsMax, on: loop
      ) { [members] in members.sessions[name] = nil }
    }
    let ended = { [context, members] in
      members.sessions[name] = nil
      context.counters.connectionEnded()
    }
    guard !context.isDraining else {
      return session.refuse(.draining, "connections", limit: 0, on: loop, ended: ended)
    }
    session.start(on: loop, ended: ended)
  }
}

// Safe because: the listener is made on one thread, then handed to its loop and used only there.
private final class ListenerBox: @unchecked Sendable {
  let value: Listener

  init(_ value: Listener) { self.value = value }
}
