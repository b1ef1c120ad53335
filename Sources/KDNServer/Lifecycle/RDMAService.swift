internal import Glibc
internal import KDNCore
internal import KDNMemory
internal import KDNTransport
internal import Logging

/// The listeners for clients of the fabric; their connections live on the listeners' own loops.
///
/// Where there is no device the daemon says so once and serves the rest.
// Safe because: the array is written once before it is shared, and each listener and what it calls
// are used only on the one loop it was started on.
final class RDMAService: @unchecked Sendable {
  /// One address, its listener and the loop that it lives on.
  private struct Place {
    let listener: RDMAListener
    let loop: Int
  }

  private let acceptor: Acceptor
  private let context: ServerContext
  private let arena: Arena
  private let devices = RDMADevices()
  /// Devices that slabs may be registered with: their names, by what registers there.
  private let used = Guarded<[ObjectIdentifier: String]>([:])
  private var places: [Place] = []

  /// Prepares to listen; nothing is accepted before `listen`.
  init(acceptor: Acceptor, context: ServerContext, arena: Arena) {
    self.acceptor = acceptor
    self.context = context
    self.arena = arena
  }

  /// Binds all addresses and begins to accept, each on a loop of its own as far as there are some.
  ///
  /// - Returns: where it really listens, devices near to this process first; a listener on all
  ///   addresses stands for the addresses of all devices. Empty without a device.
  /// - Throws: if an address of a device is not to be had.
  func listen(on endpoints: [Endpoint]) throws(TransportError) -> [Endpoint] {
    guard !endpoints.isEmpty else { return [] }
    let found: [RDMADevice]
    switch RDMADevice.discover() {
    case .success(let present): found = present
    case .failure(let fault):
      tellOfAbsence(fault)
      return []
    }
    for endpoint in endpoints {
      do throws(RDMAFault) {
        try add(endpoint, loop: places.count % acceptor.loops.count)
      } catch {
        if error.isUnavailable {
          tellOfAbsence(error)
          return []
        }
        let problem = TransportError(error, endpoint)
        guard problem.code == ENODEV else { throw problem }
        context.log.warning(
          "RDMA is not served at an address: no device has it",
          metadata: ["address": "\(endpoint)"])
      }
    }
    for number in places.indices { start(number) }
    let near = RDMADevice.sortedByDistance(found, from: NearNode.current())
    return Self.offered(places.map(\.listener.endpoint), addresses: near.flatMap(\.addresses))
  }

  /// Stops listening on the loop of this number; connections go on.
  func stop(loop index: Int, on loop: isolated Loop) {
    for place in places where place.loop == index { place.listener.stop(on: loop) }
  }

  private func tellOfAbsence(_ fault: RDMAFault) {
    context.log.warning(
      "RDMA is not served: this host has no device for it", metadata: ["reason": "\(fault)"])
  }

  private func add(_ endpoint: Endpoint, loop index: Int) throws(RDMAFault) {
    let number = places.count
    let listener = try RDMAListener(
      endpoint, devices: devices,
      accepted: { [unowned self] endpoint, loop in accept(endpoint, index, on: loop) },
      troubled: { [unowned self] fault, _ in trouble(fault, number) })
    // Loopback can be bound, but no device is there.
    if listener.device == nil, case .tcp(let host, _) = endpoint, !Self.isEveryAddress(host) {
      throw .system(call: "rdma_bind_addr", code: ENODEV, subject: "\(endpoint)")
    }
    places.append(Place(listener: listener, loop: index))
  }

  private func start(_ number: Int) {
    acceptor.loops[places[number].loop].post { [self] loop in
      do {
        try places[number].listener.start(on: loop)
      } catch {
        context.log.critical("cannot watch an RDMA listener", metadata: ["error": "\(error)"])
      }
    }
  }

  private func accept(_ endpoint: RDMAEndpoint, _ index: Int, on loop: isolated Loop) {
    used.withLock { $0[ObjectIdentifier(endpoint.context)] = endpoint.context.deviceName }
    let pool = context.pool
    // Without memory for its messages it is only told that there are too many.
    let isCharged = pool.chargeBuffers(RDMALink.bufferBytes)
    let link = RDMALink(endpoint) {
      if isCharged { pool.refundBuffers(RDMALink.bufferBytes) }
    }
    let isAdmitted =
      isCharged && context.counters.admitConnection(limit: context.connectionsMax)
    let session = Session(
      over: link, kind: .rdma, loop: index, context: context, now: loop.now())
    acceptor.serve(session, onLoop: index, isAdmitted: isAdmitted, on: loop)
  }

  private func trouble(_ fault: RDMAFault, _ number: Int) {
    guard fault == .deviceRemoved else {
      return context.log.notice("RDMA: a connection failed", metadata: ["error": "\(fault)"])
    }
    context.log.error("an RDMA device was removed: it is served no more")
    let name = places[number].listener.device?.name
    // The kernel waits until nobody has anything registered with the device; what is dropped for
    // another one, because a listener on all addresses does not know, is registered again.
    let gone = used.withLock { used in
      let gone = used.filter { name == nil || $0.value == name }
      for owner in gone.keys { used[owner] = nil }
      return gone
    }
    for context in devices.contexts() where gone[ObjectIdentifier(context)] != nil {
      devices.forget(context)
    }
    for owner in gone.keys { arena.dropCompanions(of: owner) }
  }

  private static func isEveryAddress(_ host: String) -> Bool { host == "0.0.0.0" || host == "::" }

  /// What clients are told: where listeners are bound, in the order of the devices' `addresses`.
  static func offered(_ bound: [Endpoint], addresses: [String]) -> [Endpoint] {
    var offered: [(rank: Int, endpoint: Endpoint)] = []
    for endpoint in bound {
      guard case .tcp(let host, let port) = endpoint else { continue }
      guard Self.isEveryAddress(host) else {
        offered.append((addresses.firstIndex(of: host) ?? addresses.count, endpoint))
        continue
      }
      // IPv4's wildcard does not hear IPv6.
      let heard = addresses.enumerated().filter { host == "::" || !$0.element.contains(":") }
      offered += heard.map { ($0.offset, .tcp(host: $0.element, port: port)) }
    }
    return offered.enumerated()
      .sorted { ($0.element.rank, $0.offset) < ($1.element.rank, $1.offset) }
      .map(\.element.endpoint)
  }
}

extension TransportError {
  /// What hinders a listener at `endpoint`.
  fileprivate init(_ fault: RDMAFault, _ endpoint: Endpoint) {
    guard case .system(let call, let code, _) = fault else {
      self.init("rdma_listen", code: EPROTO, subject: "\(endpoint): \(fault)")
      return
    }
    self.init(call, code: code, subject: "\(endpoint)")
  }
}
