internal import CIBVerbs
internal import CRDMACM
internal import Glibc
package import KDNCore

/// Accepts RDMA connections on one address; they live on its loop.
///
/// It must be kept until the last of them is closed: it hears when the other side leaves.
package final class RDMAListener: LoopMember {
  /// Connections that may be half made at once; more are turned away.
  private static let handshakesMax = 1024
  /// A connection that takes longer to be made is given up.
  private static let handshakeMilliseconds: UInt64 = 10_000
  private static let backlog: Int32 = 1024

  private struct Handshake {
    let endpoint: RDMAEndpoint
    let deadline: Instant
  }

  private struct Served {
    weak var endpoint: RDMAEndpoint?
  }

  /// Where it really listens, with the port that was chosen.
  package let endpoint: Endpoint
  /// The device that it is bound to; nil if it listens on all of them.
  package let device: RDMADevice?
  private let settings: RDMASettings
  private let devices: RDMADevices
  private let channel: RDMAEventChannel
  private var listening: RDMAIdentifier?
  private let accepted: (RDMAEndpoint, isolated Loop) -> Void
  private let troubled: (RDMAFault, isolated Loop) -> Void
  private var handshakes: [UInt: Handshake] = [:]
  private var served: [UInt: Served] = [:]
  /// Receives shared by the connections of a device; nil where the device has no such thing.
  private var shared: [ObjectIdentifier: RDMAReceives?] = [:]
  private var token: UInt64?

  /// Binds and listens; nothing is accepted before `start`.
  ///
  /// - Parameters:
  ///   - endpoint: a TCP endpoint, of an address of an RDMA device or of all; not of loopback.
  ///   - devices: the contexts that all listeners share.
  ///   - settings: how much it is ready to receive.
  ///   - accepted: takes over each connection.
  ///   - troubled: hears why a connection could not be made, and of a device that went.
  /// - Throws: `noDriver` where the kernel has no RDMA, else the call that failed.
  package init(
    _ endpoint: Endpoint, devices: RDMADevices, settings: RDMASettings = RDMASettings(),
    accepted: @escaping (RDMAEndpoint, isolated Loop) -> Void,
    troubled: @escaping (RDMAFault, isolated Loop) -> Void
  ) throws(RDMAFault) {
    channel = try RDMAEventChannel()
    let listening = try RDMAIdentifier(on: channel)
    try listening.bind(to: endpoint)
    guard unsafe rdma_listen(listening.pointer, Self.backlog) == 0 else {
      throw .last("rdma_listen", "\(endpoint)")
    }
    self.endpoint = listening.bound(endpoint)
    device = unsafe listening.pointer.pointee.verbs.map { verbs in
      let name = unsafe String(cString: ibv_get_device_name(verbs.pointee.device))
      let kind = unsafe verbs.pointee.device.pointee.transport_type
      return RDMADevice(named: name, isIWARP: kind == IBV_TRANSPORT_IWARP)
    }
    self.listening = listening
    self.devices = devices
    self.settings = settings
    self.accepted = accepted
    self.troubled = troubled
  }

  /// Begins to accept on `loop`.
  ///
  /// - Throws: if the loop cannot watch the events.
  package func start(on loop: isolated Loop) throws(RDMAFault) {
    do throws(TransportError) {
      token = try loop.watch(channel.number, for: self)
    } catch {
      throw .system(call: error.call, code: error.code, subject: error.subject)
    }
  }

  /// Stops accepting; connections live on, and their ends are still heard of.
  package func stop(on loop: isolated Loop) {
    listening = nil
    for handshake in Array(handshakes.values) { handshake.endpoint.close() }
    handshakes.removeAll()
    rest(on: loop)
  }

  package func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
    while let event = channel.next() { handle(event, on: loop) }
    rest(on: loop)
  }

  package func tick(now: Instant, on loop: isolated Loop) -> Instant {
    for (name, handshake) in handshakes where handshake.deadline <= now {
      handshakes[name] = nil
      handshake.endpoint.close()
    }
    rest(on: loop)
    return handshakes.values.map(\.deadline).min() ?? .never
  }

  /// Leaves the loop when there is nothing more to hear.
  private func rest(on loop: isolated Loop) {
    // Whoever is closed has taken itself out.
    guard listening == nil, served.isEmpty, let token else { return }
    loop.unwatch(token, channel.number)
    self.token = nil
  }

  // MARK: Events

  private func handle(_ event: RDMAEvent, on loop: isolated Loop) {
    switch event.kind {
    case RDMA_CM_EVENT_CONNECT_REQUEST: answer(event, on: loop)
    case RDMA_CM_EVENT_ESTABLISHED: establish(event.connection, on: loop)
    case RDMA_CM_EVENT_DISCONNECTED: end(event.connection, .disconnected, on: loop)
    case RDMA_CM_EVENT_DEVICE_REMOVAL: remove(event.connection, on: loop)
    case RDMA_CM_EVENT_CONNECT_ERROR, RDMA_CM_EVENT_UNREACHABLE, RDMA_CM_EVENT_REJECTED:
      end(event.connection, .refused(event.text), on: loop)
    default: break
    }
  }

  private func answer(_ event: RDMAEvent, on loop: isolated Loop) {
    guard let identifier = RDMAIdentifier(requestedBy: event, on: channel) else { return }
    do throws(RDMAFault) {
      guard listening != nil, handshakes.count < Self.handshakesMax else {
        throw .refused("too many connections are being made")
      }
      let greeting = try RDMAGreeting(heard: event.privateData)
      let endpoint = try makeEndpoint(identifier, greeting)
      identifier.willConnect()
      try accept(identifier, event, endpoint.context)
      let deadline = loop.now().advanced(milliseconds: Self.handshakeMilliseconds)
      handshakes[identifier.name] = Handshake(endpoint: endpoint, deadline: deadline)
      loop.wake(at: deadline)
    } catch {
      identifier.reject()
      troubled(error, loop)
    }
  }

  private func makeEndpoint(
    _ identifier: RDMAIdentifier, _ greeting: RDMAGreeting
  ) throws(RDMAFault) -> RDMAEndpoint {
    guard let verbs = unsafe identifier.pointer.pointee.verbs else { throw .noDevice }
    let port = unsafe identifier.pointer.pointee.port_num
    let context = unsafe try devices.context(of: verbs, port: port)
    let pair = try RDMAQueuePair(
      identifier: identifier, context: context, receives: try receives(for: context))
    return try RDMAEndpoint(pair, greeting: greeting, settings: settings)
  }

  /// The receives that all connections of a device share; where it cannot do that, a connection's
  /// own.
  ///
  /// Over iWARP none are shared: a message that finds no receive ends its connection there, so
  /// whoever floods the shared ones would end those of others.
  private func receives(for context: RDMAContext) throws(RDMAFault) -> RDMAReceives {
    let key = ObjectIdentifier(context)
    if shared[key] == nil, !context.isIWARP {
      shared[key] = .some(
        try? RDMAReceives(
          sharedCount: settings.sharedReceives, messageBytes: settings.messageBytes, in: context))
    }
    if let shared = shared[key] ?? nil { return shared }
    return try RDMAReceives(
      count: settings.receives, messageBytes: settings.messageBytes, in: context)
  }

  private func accept(
    _ identifier: RDMAIdentifier, _ event: RDMAEvent, _ context: RDMAContext
  ) throws(RDMAFault) {
    let limits = context.readLimits
    let greeting = RDMAGreeting(
      receives: settings.receives, messageBytes: settings.messageBytes
    ).encoded
    let result = unsafe greeting.withUnsafeBytes { bytes in
      var parameters = unsafe rdma_conn_param()
      unsafe parameters.private_data = bytes.baseAddress
      unsafe parameters.private_data_len = UInt8(bytes.count)
      unsafe parameters.responder_resources = min(event.responderResources, limits.served)
      unsafe parameters.initiator_depth = min(event.initiatorDepth, limits.issued)
      unsafe parameters.rnr_retry_count = 7
      return unsafe rdma_accept(identifier.pointer, &parameters)
    }
    guard result == 0 else { throw .last("rdma_accept", context.deviceName) }
  }

  private func establish(_ name: UInt, on loop: isolated Loop) {
    guard let handshake = handshakes.removeValue(forKey: name) else { return }
    let endpoint = handshake.endpoint
    endpoint.pair.tune(deniesAccess: true)
    endpoint.closing = { [weak self] in self?.served[name] = nil }
    served[name] = Served(endpoint: endpoint)
    accepted(endpoint, loop)
  }

  private func end(_ name: UInt, _ fault: RDMAFault, on loop: isolated Loop) {
    if let handshake = handshakes.removeValue(forKey: name) {
      return handshake.endpoint.close()
    }
    guard let endpoint = served[name]?.endpoint else { return }
    endpoint.ended(fault)
    endpoint.member?.ready(readable: true, writable: true, on: loop)
  }

  private func remove(_ name: UInt, on loop: isolated Loop) {
    if name == listening?.name {
      listening = nil
      // It was bound to the device, so all that is shared is the device's.
      shared.removeAll()
      for context in devices.contexts() where context.deviceName == device?.name {
        devices.forget(context)
      }
      RDMADeviceHold.noticeRemoval()
      troubled(.deviceRemoved, loop)
      return
    }
    let context = (handshakes[name]?.endpoint ?? served[name]?.endpoint)?.context
    end(name, .deviceRemoved, on: loop)
    guard let context else { return }
    // The device waits for all that is registered with it, so whoever registered must hear of it.
    let isFirst = devices.forget(context)
    shared[ObjectIdentifier(context)] = nil
    if isFirst { troubled(.deviceRemoved, loop) }
  }
}
