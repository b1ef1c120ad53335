internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// Connects and looks for the best link, all within one time.
struct LinkOpening {
  /// The namespace asked for.
  let namespace: NamespaceName
  /// The secret; empty for none.
  let token: String
  /// The client's name and version.
  let agent: String
  /// Whether the token may travel over RDMA, where nothing encrypts it.
  let trustsRDMA: Bool
  /// How TLS is done; nil for none.
  let tls: TLSClientOptions?
  /// When all must be over.
  let deadline: Instant
  private let clock = SystemClock()

  init(
    namespace: NamespaceName, token: String, agent: String, trustsRDMA: Bool,
    tls: TLSClientOptions?, timeoutMilliseconds: Int
  ) {
    self.namespace = namespace
    self.token = token
    self.agent = agent
    self.trustsRDMA = trustsRDMA
    self.tls = tls
    deadline = SystemClock().now().advanced(milliseconds: UInt64(clamping: timeoutMilliseconds))
  }

  /// Milliseconds that are left, at least 1.
  var millisecondsLeft: UInt64 { max(1, clock.now().milliseconds(until: deadline)) }

  /// Connects to `address` on the link that `choice` names.
  ///
  /// - Throws: `cannotConnect` with the reasons if the link asked for cannot be had, `refused` with
  ///   the answer to HELLO, or whatever ends a connection.
  func open(_ address: ServerAddress, _ choice: LinkChoice) throws(ClientError) -> Connection {
    if address.usesRDMA { return try openRemotely(address, choice) }
    let usesTLS = address.usesTLS || tls != nil
    if case .unix = address.endpoint {
      guard choice != .tcp else { throw Self.mismatch(choice, address) }
    }
    let base = try connect(address, usesTLS: usesTLS)
    switch (choice, base.link.kind) {
    case (.auto, .unix), (.shm, .unix): return try shareMemory(of: base, choice)
    case (.tcp, _), (.unix, .unix): return base
    default: return try better(than: base, choice)
    }
  }

  private func connect(
    _ address: ServerAddress, usesTLS: Bool
  ) throws(ClientError) -> Connection {
    let options = usesTLS ? tls ?? TLSClientOptions() : nil
    let milliseconds = millisecondsLeft
    let socket = try StreamSocket(
      connecting: address.endpoint, timeoutMilliseconds: Int(clamping: milliseconds), tls: options)
    let hello = HelloRequest(namespace: namespace, token: token, agent: agent)
    return try Connection(
      over: socket, hello, timeoutMilliseconds: millisecondsLeft,
      graceMilliseconds: Connection.graceMillisecondsDefault,
      link: ClientLink(addressed: address.endpoint, usesTLS: usesTLS))
  }

  /// On a Unix socket the connection itself may carry shared memory.
  private func shareMemory(
    of base: Connection, _ choice: LinkChoice
  ) throws(ClientError) -> Connection {
    if base.hello.links.contains(.sharedMemory) {
      base.link = ClientLink(.shm, address: base.link.address, reason: "the daemon is on this host")
      return base
    }
    let obstacle = "shared memory: not offered on \(base.link.address)"
    return try stay(on: base, choice, [obstacle])
  }

  /// Keeps the connection that there is, if the choice leaves that.
  private func stay(
    on base: Connection, _ choice: LinkChoice, _ obstacles: [String]
  ) throws(ClientError) -> Connection {
    let reason = obstacles.joined(separator: "; ")
    guard choice == .auto else {
      base.close()
      throw .cannotConnect("link \(choice.rawValue): \(reason)")
    }
    base.link = ClientLink(base.link.kind, address: base.link.address, reason: reason)
    return base
  }

  // MARK: Better links

  private func better(
    than base: Connection, _ choice: LinkChoice
  ) throws(ClientError) -> Connection {
    guard choice == .unix || !base.hello.links.isDisjoint(with: [.sharedMemory, .rdma]) else {
      return try stay(on: base, choice, ["the daemon offers neither shared memory nor RDMA"])
    }
    var tickets = Tickets(connection: base)
    let answer: LinkTicketResponse
    do {
      answer = try tickets.ask(within: millisecondsLeft)
    } catch {
      guard !error.endsConnection else { throw error }
      return try stay(on: base, choice, ["no ticket for another link: \(error)"])
    }
    let here = LinkCandidates.Surroundings(
      isSameHost: HostIdentity.ofThisHost() == answer.hostID,
      remoteObstacle: Self.remoteObstacle(choice, from: base.link.kind, isTrusted: trustsRDMA))
    let found = LinkCandidates(for: choice, offers: answer.offers, here)
    var obstacles = found.obstacles
    for candidate in found.candidates {
      var problem = "no time was left to try \(candidate.endpoint)"
      if clock.now() < deadline {
        do {
          let connection = try attempt(candidate, from: base, &tickets)
          connection.link = Self.moved(from: base, to: candidate, obstacles)
          base.close()
          return connection
        } catch {
          problem = "\(candidate.endpoint): \(error)"
        }
      }
      obstacles.append(LinkCandidates.Obstacle(kind: candidate.kind, problem: problem))
    }
    return try stay(on: base, choice, obstacles.map(\.description))
  }

  /// Why RDMA is out of the question; who asked for TLS is not moved to a link without it unasked.
  static func remoteObstacle(
    _ choice: LinkChoice, from base: ClientLink.Kind, isTrusted: Bool
  ) -> String? {
    switch choice {
    case .auto where base == .tls && !isTrusted:
      "nothing encrypts it, and TLS was asked for: declare the fabric trusted, or ask for RDMA"
    case .auto, .rdma: RemoteDevices.obstacle
    case .tcp, .unix, .shm: nil
    }
  }

  /// The link that was moved to, with what stood in the way of better ones.
  private static func moved(
    from base: Connection, to candidate: LinkCandidates.Candidate,
    _ obstacles: [LinkCandidates.Obstacle]
  ) -> ClientLink {
    let better = obstacles.filter { LinkCandidates.isBetter($0.kind, than: candidate.kind) }
    let reasons = ["offered by \(base.link.address)"] + better.map(\.description)
    return ClientLink(
      candidate.kind, address: candidate.endpoint.description,
      reason: reasons.joined(separator: "; "))
  }

  /// Tries one link; half of the time that is left stays for the others.
  private func attempt(
    _ candidate: LinkCandidates.Candidate, from base: Connection, _ tickets: inout Tickets
  ) throws(ClientError) -> Connection {
    let milliseconds = max(1, millisecondsLeft / 2)
    let ticket = try tickets.next(within: milliseconds)
    let socket =
      candidate.kind == .rdma
      ? try StreamSocket(connectingRemotely: candidate.endpoint, timeoutMilliseconds: milliseconds)
      : try StreamSocket(
        connecting: candidate.endpoint, timeoutMilliseconds: Int(clamping: milliseconds))
    tickets.use()
    let connection = try Connection(
      over: socket, HelloRequest(namespace: namespace, ticket: ticket, agent: agent),
      timeoutMilliseconds: milliseconds, graceMilliseconds: Connection.graceMillisecondsDefault,
      link: base.link)
    guard connection.hello.serverID == base.hello.serverID else {
      throw .cannotConnect("another daemon answers there")
    }
    guard candidate.kind != .shm || connection.hello.links.contains(.sharedMemory) else {
      throw .cannotConnect("shared memory is not granted to this process")
    }
    return connection
  }

  /// Connects to an address over RDMA.
  private func openRemotely(
    _ address: ServerAddress, _ choice: LinkChoice
  ) throws(ClientError) -> Connection {
    guard choice == .auto || choice == .rdma else { throw Self.mismatch(choice, address) }
    guard trustsRDMA || token.isEmpty else {
      throw .cannotConnect(
        "\(address): nothing encrypts a token there; connect by TCP or TLS, or declare it trusted")
    }
    let socket = try StreamSocket(
      connectingRemotely: address.endpoint, timeoutMilliseconds: millisecondsLeft)
    return try Connection(
      over: socket, HelloRequest(namespace: namespace, token: token, agent: agent),
      timeoutMilliseconds: millisecondsLeft,
      graceMilliseconds: Connection.graceMillisecondsDefault,
      link: ClientLink(.rdma, address: address.endpoint.description, reason: "as addressed"))
  }

  private static func mismatch(_ choice: LinkChoice, _ address: ServerAddress) -> ClientError {
    .cannotConnect("link \(choice.rawValue) is not for \(address)")
  }
}

/// The tickets of one connection: each for one HELLO.
private struct Tickets {
  let connection: Connection
  private var unused: LinkTicket?

  init(connection: Connection) { self.connection = connection }

  /// Asks for a ticket and the links on which it may be used.
  mutating func ask(within milliseconds: UInt64) throws(ClientError) -> LinkTicketResponse {
    let most = UInt64(connection.hello.limits.maxDeadlineMilliseconds)
    let answer = try connection.request(
      .linkTicket(LinkTicketRequest()),
      deadlineMilliseconds: UInt32(clamping: max(1, min(milliseconds, most))))
    guard case .linkTicket(let ticket) = answer else {
      preconditionFailure("the machine admits only answers to what was asked")
    }
    unused = ticket.ticket
    return ticket
  }

  /// A ticket that was not shown yet.
  mutating func next(within milliseconds: UInt64) throws(ClientError) -> LinkTicket {
    if let unused { return unused }
    return try ask(within: milliseconds).ticket
  }

  /// The ticket is shown now, and good for nothing more.
  mutating func use() { unused = nil }
}
