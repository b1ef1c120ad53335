import Foundation
import Glibc
import KDNCore
import KDNTransport
import KDNWire
import Testing

@testable import KDNClient

@Suite("The choice of a link")
struct LinkChoiceTests {
  private let offers = [
    LinkOffer(kind: .rdma, address: "10.0.0.1:9441"), LinkOffer(kind: .unix, address: "/run/u"),
    LinkOffer(kind: .sharedMemory, address: "/run/a"), LinkOffer(kind: .tcp, address: "h:1"),
    LinkOffer(kind: .rdma, address: "10.0.0.2:9441"),
  ]

  private func candidates(
    _ choice: LinkChoice, sameHost: Bool = true, obstacle: String? = nil
  ) -> LinkCandidates {
    LinkCandidates(
      for: choice, offers: offers,
      LinkCandidates.Surroundings(isSameHost: sameHost, remoteObstacle: obstacle))
  }

  @Test("by itself tries shared memory, then RDMA in the server's order")
  func automatic() {
    let found = candidates(.auto)
    #expect(found.candidates.map(\.kind) == [.shm, .rdma, .rdma])
    #expect(
      found.candidates.map(\.endpoint.description) == [
        "unix:///run/a", "10.0.0.1:9441", "10.0.0.2:9441",
      ])
    #expect(found.obstacles.isEmpty)
  }

  @Test("does not leave TLS for RDMA unasked, unless the fabric is trusted")
  func staysEncrypted() throws {
    let obstacle = try #require(LinkOpening.remoteObstacle(.auto, from: .tls, isTrusted: false))
    #expect(obstacle.contains("TLS was asked for"))
    for (choice, isTrusted) in [(LinkChoice.auto, true), (.rdma, false)] {
      let other = LinkOpening.remoteObstacle(choice, from: .tls, isTrusted: isTrusted)
      #expect(other == RemoteDevices.obstacle)
    }
    #expect(
      LinkOpening.remoteObstacle(.auto, from: .tcp, isTrusted: false) == RemoteDevices.obstacle)
  }

  @Test("says of each better link why it is not tried")
  func obstacles() {
    let found = candidates(.auto, sameHost: false, obstacle: "no RDMA device")
    #expect(found.candidates.isEmpty)
    #expect(
      found.obstacles.map(\.description) == [
        "shared memory: the daemon is on another host", "RDMA: no RDMA device",
      ])
    let nothing = LinkCandidates(
      for: .auto, offers: [], .init(isSameHost: true, remoteObstacle: nil))
    #expect(nothing.obstacles.map(\.problem) == ["not offered", "not offered"])
  }

  @Test("of one link tries that link only")
  func explicit() {
    #expect(candidates(.unix).candidates.map(\.endpoint) == [.unix(path: "/run/u")])
    #expect(candidates(.shm).candidates.map(\.kind) == [.shm])
    #expect(candidates(.rdma).candidates.map(\.kind) == [.rdma, .rdma])
    #expect(candidates(.tcp).candidates.isEmpty)
  }

  @Test("is bounded, and passes over addresses that nobody can read")
  func bounded() {
    let long = String(repeating: "x", count: 300)
    let many =
      [LinkOffer(kind: .sharedMemory, address: long), LinkOffer(kind: .rdma, address: "nowhere")]
      + (1...50).map { LinkOffer(kind: .rdma, address: "10.0.0.\($0):1") }
    let found = LinkCandidates(
      for: .auto, offers: many, .init(isSameHost: true, remoteObstacle: nil))
    #expect(found.candidates.count == LinkCandidates.triesMax)
    #expect(found.candidates.first?.endpoint.description == "10.0.0.1:1")
    #expect(found.obstacles.map(\.description) == ["shared memory: not offered"])
  }

  @Test("knows this host by its kernel's boot id, with or without the line's end")
  func hostIdentity() throws {
    let text = Array("3f6c1d2e-0000-4000-8000-123456789abc".utf8)
    let identity = HostIdentity.identity(ofBootID: text)
    #expect(identity.count == 16)
    #expect(identity == HostIdentity.identity(ofBootID: text + [10]))
    #expect(identity != HostIdentity.identity(ofBootID: text + [11]))
    #expect(identity == Array(HashChain.opaque(text).bytes.prefix(16)))
    #expect(HostIdentity.ofThisHost() == HostIdentity.ofThisHost())
  }
}

/// A listener whose connections a script answers, as a daemon with one other link.
final class OfferingServer: Sendable {
  let endpoint: Endpoint
  private let listener: Int32

  /// Listens on a port of its own, or at `path`.
  init(path: String? = nil) throws {
    if let path {
      endpoint = .unix(path: path)
      let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      listener = number
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      let size = socklen_t(MemoryLayout<sockaddr_un>.size)
      let bound = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(number, $0, size) }
      }
      precondition(bound == 0 && listen(number, 8) == 0, "cannot listen at \(path)")
      return
    }
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    listener = number
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let port = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address -> Bool in
        bind(number, address, size) == 0 && listen(number, 8) == 0
          && getsockname(number, address, &size) == 0
      }
    }
    precondition(port, "cannot listen")
    endpoint = .tcp(host: "127.0.0.1", port: UInt16(bigEndian: address.sin_port))
  }

  deinit { close(listener) }

  /// Serves connections one after the other by `answer`.
  func serve(_ answer: @escaping @Sendable (HeardFrame) throws -> Said?) {
    Thread.detachNewThread { [self] in
      while true {
        let accepted = accept(listener, nil, nil)
        guard accepted >= 0 else { return }
        ScriptedServer(accepted: accepted).serve(answer)
      }
    }
  }
}

@Suite("Opening a connection")
struct OpeningTests {
  private static let ticket = [UInt8](repeating: 0xAB, count: 32)

  private static func hello(_ frame: HeardFrame, _ links: LinkKinds, serverID: UInt8 = 1) -> Said {
    let body = HelloResponse(
      limits: Limits(), links: links, namespaceGeneration: 1,
      serverID: [UInt8](repeating: serverID, count: 16), server: "scripted")
    return .answer(.hello(body), frame.id)
  }

  private static func ticket(
    _ frame: HeardFrame, hostID: [UInt8]?, _ offers: [LinkOffer]
  ) -> Said {
    guard let ticket = LinkTicket(Self.ticket) else { return .nothing }
    let answer = LinkTicketResponse(
      ticket: ticket, ticketMilliseconds: 10_000,
      hostID: hostID ?? [UInt8](repeating: 0, count: 16), offers: offers)
    return .answer(.linkTicket(answer), frame.id)
  }

  private func open(
    _ endpoint: Endpoint, _ choice: LinkChoice, token: String = "secret"
  ) throws -> Connection {
    try Connection.open(
      ServerAddress(parsing: "\(endpoint)", field: "address"),
      namespace: NamespaceName("test"), token: token, link: choice)
  }

  private func temporaryPath() -> String {
    "/tmp/kdn-client-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
  }

  @Test("moves from TCP to shared memory on the same host, with the ticket and not the token")
  func moves() throws {
    let path = temporaryPath()
    defer { unlink(path) }
    let local = try OfferingServer(path: path)
    let shown = Guarded<[HelloRequest]>([])
    local.serve { frame in
      guard case .hello(let hello) = frame.request else { return nil }
      shown.withLock { $0.append(hello) }
      return Self.hello(frame, [.unix, .sharedMemory])
    }
    let server = try OfferingServer()
    server.serve { frame in
      if case .hello = frame.request { return Self.hello(frame, [.tcp, .sharedMemory]) }
      return Self.ticket(
        frame, hostID: HostIdentity.ofThisHost(),
        [LinkOffer(kind: .sharedMemory, address: path)])
    }
    let connection = try open(server.endpoint, .auto)
    #expect(connection.link.kind == .shm)
    #expect(connection.link.address == "unix://\(path)")
    #expect(connection.link.reason == "offered by \(server.endpoint)")
    let hello = try #require(shown.withLock { $0.first })
    #expect(hello.ticket?.bytes == Self.ticket)
    #expect(!hello.token.contains("secret"))
  }

  @Test(
    "stays on TCP and says why", arguments: ["no links", "other host", "refused", "other daemon"])
  func stays(obstacle: String) throws {
    let path = temporaryPath()
    defer { unlink(path) }
    let local = try OfferingServer(path: path)
    local.serve { Self.hello($0, [.unix, .sharedMemory], serverID: 2) }
    let server = try OfferingServer()
    server.serve { frame in
      switch (frame.request, obstacle) {
      case (.hello, "no links"): return Self.hello(frame, .tcp)
      case (.hello, _): return Self.hello(frame, [.tcp, .sharedMemory])
      case (.linkTicket, "refused"): return .refusal(.linkTicket, frame.id, .unknownOp)
      case (.linkTicket, _):
        let hostID = obstacle == "other host" ? nil : HostIdentity.ofThisHost()
        return Self.ticket(
          frame, hostID: hostID, [LinkOffer(kind: .sharedMemory, address: path)])
      default: return .answer(.exists(ExistsResponse(present: Bitmap(count: 0))), frame.id)
      }
    }
    let connection = try open(server.endpoint, .auto)
    #expect(connection.link.kind == .tcp)
    let reasons = [
      "no links": "neither shared memory nor RDMA", "other host": "on another host",
      "refused": "no ticket", "other daemon": "another daemon",
    ]
    #expect(connection.link.reason.contains(reasons[obstacle] ?? "?"))
    try Client(connection).ping()
    let error = failure { try open(server.endpoint, .shm) }
    guard case .cannotConnect(let problem) = error else {
      Issue.record("connected: \(String(describing: error))")
      return
    }
    #expect(problem.contains(reasons[obstacle] ?? "?"))
  }

  @Test("goes on after a link that does not answer, within the time")
  func silentLink() throws {
    let path = temporaryPath()
    defer { unlink(path) }
    let silent = try OfferingServer(path: path)
    silent.serve { _ in .nothing }
    let server = try OfferingServer()
    server.serve { frame in
      if case .hello = frame.request { return Self.hello(frame, [.tcp, .sharedMemory]) }
      return Self.ticket(
        frame, hostID: HostIdentity.ofThisHost(),
        [LinkOffer(kind: .sharedMemory, address: path)])
    }
    let connection = try Connection.open(
      ServerAddress(parsing: "\(server.endpoint)", field: "address"),
      namespace: NamespaceName("test"), connectTimeoutMilliseconds: 400)
    #expect(connection.link.kind == .tcp)
    #expect(connection.link.reason.contains("deadline"))
    #expect(connection.isOpen)
  }

  @Test("refuses a link that the address cannot have", arguments: [LinkChoice.tcp, .unix, .shm])
  func mismatch(choice: LinkChoice) throws {
    let address = choice == .tcp ? "unix:///tmp/none" : "rdma://10.0.0.1:1"
    let error = failure {
      try Connection.open(
        ServerAddress(parsing: address, field: "address"), namespace: NamespaceName("test"),
        link: choice)
    }
    guard case .cannotConnect(let problem) = error else {
      Issue.record("connected")
      return
    }
    #expect(problem.contains("is not for"))
  }

  @Test("never shows a token over RDMA unless the fabric is trusted")
  func token() throws {
    let address = try ServerAddress(parsing: "rdma://192.0.2.1:1", field: "address")
    func problem(trusts: Bool) throws -> String {
      let error = failure {
        try Connection.open(
          address, namespace: NamespaceName("test"), token: "secret", trustsRDMA: trusts,
          connectTimeoutMilliseconds: 50)
      }
      guard case .cannotConnect(let problem) = error else { return "\(String(describing: error))" }
      return problem
    }
    #expect(try problem(trusts: false).contains("nothing encrypts a token"))
    #expect(try !problem(trusts: true).contains("nothing encrypts a token"))
  }
}
