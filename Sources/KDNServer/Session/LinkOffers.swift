internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// Where the daemon can be reached, and on which host.
struct LinkOffers: Sendable {
  /// The same for all processes of this host until it starts again.
  let hostID: [UInt8]
  /// Kinds of link that are served.
  let kinds: LinkKinds
  private let listeners: [(kind: LinkKind, endpoint: Endpoint)]
  private let hasSharedMemory: Bool

  /// Gathers what clients of KDNP/1 may use of `listeners`.
  init(
    _ listeners: [(kind: LinkKind, endpoint: Endpoint)], hasSharedMemory: Bool, hostID: [UInt8]
  ) {
    self.hostID = hostID
    self.listeners = listeners
    let kinds = Set(listeners.map(\.kind))
    self.hasSharedMemory = hasSharedMemory && kinds.contains(.unix)
    var served: LinkKinds = []
    if kinds.contains(.tcp) || kinds.contains(.tls) { served.insert(.tcp) }
    if kinds.contains(.unix) { served.insert(.unix) }
    if kinds.contains(.rdma) { served.insert(.rdma) }
    if self.hasSharedMemory { served.insert(.sharedMemory) }
    self.kinds = served
  }

  /// What clients on this host call it too; random where the kernel does not tell.
  static func ownHostID() -> [UInt8] {
    HostIdentity.ofThisHost()
      ?? (0..<HostIdentity.byteCount).map { _ in .random(in: 0...255) }
  }

  /// All links without TLS, best first: memory, RDMA in the order of its listeners, Unix, TCP.
  ///
  /// Where the daemon listens on all addresses, `localHost` stands for them: the one by which the
  /// asker came, nil if that was none.
  func all(localHost: String?) -> [LinkOffer] {
    let order: [(kind: LinkKind, offer: LinkKinds)] = [
      (.unix, hasSharedMemory ? .sharedMemory : []), (.rdma, .rdma), (.unix, .unix), (.tcp, .tcp),
    ]
    let offers = order.flatMap { kind, offer in
      offer.isEmpty
        ? [] : listeners.filter { $0.kind == kind }.map { ($0.endpoint, offer) }
    }
    return offers.prefix(LinkTicketResponse.offersMax).map { endpoint, offer in
      LinkOffer(kind: offer, address: Self.address(endpoint, localHost: localHost))
    }
  }

  private static func address(_ endpoint: Endpoint, localHost: String?) -> String {
    switch endpoint {
    case .unix(let path): return path
    case .tcp(let host, let port):
      let isAny = host == "0.0.0.0" || host == "::"
      return "\(Endpoint.tcp(host: isAny ? localHost ?? "127.0.0.1" : host, port: port))"
    }
  }
}
