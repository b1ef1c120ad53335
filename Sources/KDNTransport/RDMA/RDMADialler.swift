internal import CRDMACM
internal import Glibc
package import KDNCore

/// Makes RDMA connections for clients; it blocks, but never beyond a deadline.
package enum RDMADialler {
  /// Connects to a listener.
  ///
  /// Each connection gets a protection domain of its own, so that no other server can reach what is
  /// registered for it.
  /// - Parameters:
  ///   - endpoint: a TCP endpoint of the listener; not of loopback.
  ///   - deadline: when to give up, on the system's clock.
  ///   - settings: how much the client is ready to receive.
  ///   - context: the context of another connection, to share its regions; nil for a fresh one.
  /// - Returns: the connection, whose other side has said what it can take.
  /// - Throws: `noDriver`, `refused`, `handshake`, `deadline`, or the call that failed.
  package static func connect(
    to endpoint: Endpoint, deadline: Instant, settings: RDMASettings = RDMASettings(),
    sharing context: RDMAContext? = nil
  ) throws(RDMAFault) -> RDMAEndpoint {
    let greeting = RDMAGreeting(
      receives: settings.receives, messageBytes: settings.messageBytes)
    return try connect(
      to: endpoint, saying: greeting.encoded, deadline: deadline, settings: settings,
      sharing: context)
  }

  /// Connects with any words of introduction, at most 56 bytes.
  static func connect(
    to endpoint: Endpoint, saying greeting: [UInt8], deadline: Instant, settings: RDMASettings,
    sharing context: RDMAContext? = nil
  ) throws(RDMAFault) -> RDMAEndpoint {
    let identifier = try resolve(endpoint, deadline)
    guard let verbs = unsafe identifier.pointer.pointee.verbs else { throw .noDevice }
    let port = unsafe identifier.pointer.pointee.port_num
    let own: RDMAContext
    if let context {
      guard unsafe context.verbs == verbs else {
        throw .system(call: "share", code: EXDEV, subject: context.deviceName)
      }
      own = context
    } else {
      own = unsafe try RDMAContext(verbs: verbs, port: port)
    }
    let receives = try RDMAReceives(
      count: settings.receives, messageBytes: settings.messageBytes, in: own)
    let pair = try RDMAQueuePair(identifier: identifier, context: own, receives: receives)
    try request(identifier, greeting, own, endpoint)
    let answer = try expect(RDMA_CM_EVENT_ESTABLISHED, on: identifier.channel, deadline)
    pair.tune(deniesAccess: false)
    return try RDMAEndpoint(
      pair, greeting: try RDMAGreeting(heard: answer.privateData), settings: settings)
  }

  /// Asks whether RDMA leads to `endpoint`; nothing is said to the other side.
  ///
  /// - Returns: nil if so, else why not.
  package static func hasRoute(to endpoint: Endpoint, deadline: Instant) -> RDMAFault? {
    do throws(RDMAFault) {
      _ = try resolve(endpoint, deadline)
      return nil
    } catch {
      return error
    }
  }

  private static func resolve(
    _ endpoint: Endpoint, _ deadline: Instant
  ) throws(RDMAFault) -> RDMAIdentifier {
    let channel = try RDMAEventChannel()
    let identifier = try RDMAIdentifier(on: channel)
    let left = Int32(clamping: SystemClock().now().milliseconds(until: deadline))
    try identifier.resolve(endpoint, milliseconds: left)
    _ = try expect(RDMA_CM_EVENT_ADDR_RESOLVED, on: channel, deadline)
    guard unsafe rdma_resolve_route(identifier.pointer, left) == 0 else {
      throw .last("rdma_resolve_route", "\(endpoint)")
    }
    _ = try expect(RDMA_CM_EVENT_ROUTE_RESOLVED, on: channel, deadline)
    return identifier
  }

  private static func request(
    _ identifier: RDMAIdentifier, _ greeting: [UInt8], _ context: RDMAContext,
    _ endpoint: Endpoint
  ) throws(RDMAFault) {
    let limits = context.readLimits
    identifier.willConnect()
    let result = unsafe greeting.withUnsafeBytes { bytes in
      var parameters = unsafe rdma_conn_param()
      unsafe parameters.private_data = bytes.baseAddress
      unsafe parameters.private_data_len = UInt8(bytes.count)
      unsafe parameters.responder_resources = limits.served
      unsafe parameters.initiator_depth = limits.issued
      unsafe parameters.retry_count = 7
      unsafe parameters.rnr_retry_count = 7
      return unsafe rdma_connect(identifier.pointer, &parameters)
    }
    guard result == 0 else { throw .last("rdma_connect", "\(endpoint)") }
  }

  /// Waits for the next event, which must be of this kind.
  private static func expect(
    _ kind: rdma_cm_event_type, on channel: RDMAEventChannel, _ deadline: Instant
  ) throws(RDMAFault) -> RDMAEvent {
    let clock = SystemClock()
    while true {
      if let event = channel.next() {
        guard event.kind == kind else { throw .refused(event.text) }
        return event
      }
      let left = clock.now().milliseconds(until: deadline)
      guard left > 0 else { throw .deadline }
      var entry = pollfd(fd: channel.number, events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&entry, 1, Int32(clamping: left))
    }
  }
}
