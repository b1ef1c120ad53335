internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// Which of the links that a server offers are worth a try, and why the others are not.
struct LinkCandidates: Equatable {
  /// A link to be tried.
  struct Candidate: Equatable {
    let kind: ClientLink.Kind
    let endpoint: Endpoint
  }

  /// Why a link was not taken.
  struct Obstacle: Equatable, CustomStringConvertible {
    let kind: ClientLink.Kind
    let problem: String

    var description: String { "\(LinkCandidates.name(kind)): \(problem)" }
  }

  /// What this host knows of the server's.
  struct Surroundings: Equatable {
    /// Whether the server runs on this host.
    let isSameHost: Bool
    /// Why nothing can be reached over RDMA from here; nil if something can.
    let remoteObstacle: String?
  }

  /// In the order in which they are to be tried.
  private(set) var candidates: [Candidate] = []
  /// One for each link that cannot be tried.
  private(set) var obstacles: [Obstacle] = []

  /// Most links that are tried: an attempt costs time.
  static let triesMax = 8

  /// Looks through `offers`, which the server has put in its order.
  init(for choice: LinkChoice, offers: [LinkOffer], _ here: Surroundings) {
    for kind in Self.kinds(of: choice) {
      if let obstacle = Self.obstacle(to: kind, here) {
        obstacles.append(Obstacle(kind: kind, problem: obstacle))
        continue
      }
      let found = offers.compactMap { Self.candidate($0, for: kind) }
      if found.isEmpty { obstacles.append(Obstacle(kind: kind, problem: "not offered")) }
      candidates += found
    }
    candidates = Array(candidates.prefix(Self.triesMax))
  }

  /// Whether `kind` would have been better than `other`.
  static func isBetter(_ kind: ClientLink.Kind, than other: ClientLink.Kind) -> Bool {
    kind == other || (kind == .shm && other == .rdma)
  }

  /// The links that a choice would rather have than the one that the address names, best first.
  private static func kinds(of choice: LinkChoice) -> [ClientLink.Kind] {
    switch choice {
    case .auto: [.shm, .rdma]
    case .tcp: []
    case .unix: [.unix]
    case .shm: [.shm]
    case .rdma: [.rdma]
    }
  }

  /// A link's name in sentences.
  static func name(_ kind: ClientLink.Kind) -> String {
    switch kind {
    case .tcp: "TCP"
    case .tls: "TLS"
    case .unix: "Unix socket"
    case .shm: "shared memory"
    case .rdma: "RDMA"
    }
  }

  private static func obstacle(to kind: ClientLink.Kind, _ here: Surroundings) -> String? {
    switch kind {
    case .shm, .unix: here.isSameHost ? nil : "the daemon is on another host"
    case .rdma: here.remoteObstacle
    case .tcp, .tls: nil
    }
  }

  /// An offer whose address cannot be read is none.
  private static func candidate(_ offer: LinkOffer, for kind: ClientLink.Kind) -> Candidate? {
    let endpoint: Endpoint?
    switch (kind, offer.kind) {
    case (.shm, .sharedMemory), (.unix, .unix):
      endpoint = try? Endpoint(parsingUnix: offer.address, field: "address")
    case (.rdma, .rdma): endpoint = try? Endpoint(parsingTCP: offer.address, field: "address")
    default: endpoint = nil
    }
    return endpoint.map { Candidate(kind: kind, endpoint: $0) }
  }
}
