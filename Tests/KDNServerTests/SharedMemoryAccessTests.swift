import Foundation
import Glibc
import KDNCore
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

@Suite("Who may share memory")
struct SharedMemoryAccessTests: ServerTesting {
  private let lend = Request.get(
    GetRequest(
      items: [.init(key: ObjectKey(opaque: HashChain.opaque([1])))],
      place: .sharedMemory(leaseMilliseconds: 0)))

  private func links(_ frame: RawClient.Frame) throws -> LinkKinds {
    var reader = ByteReader(frame.body)
    return try HelloResponse(from: &reader).links
  }

  private func expectRefusal(_ client: RawClient) throws {
    let requests: [Request] = [
      lend, .mapSlab(MapSlabRequest(slabID: 1)), .openWindow(OpenWindowRequest(byteCount: 4096)),
    ]
    for (number, request) in requests.enumerated() {
      let answer = try client.exchange(request, id: UInt64(number + 2))
      #expect(answer.status == .unsupported)
    }
    #expect(client.descriptorCount == 0)
    try client.ping(id: 9)
  }

  @Test("whoever the socket admits, if no users are listed; HELLO says so")
  func everybody() throws {
    let fixture = try SharedMemoryFixture()
    let hello = try fixture.silentClient().hello()
    #expect(try links(hello) == [.tcp, .unix, .sharedMemory])
    let overTCP = try RawClient(silent: fixture.server.endpoints[0])
    #expect(try links(overTCP.hello()) == [.tcp, .unix, .sharedMemory], "it can come over")
    try expectRefusal(overTCP)
    withExtendedLifetime(fixture) {}
  }

  @Test("nobody but those listed, if some are")
  func listed() throws {
    let own = "\(getuid())"
    let other = "\(getuid() + 1)"
    let admitting = try SharedMemoryFixture(["shm_uids": [other, own]])
    #expect(try links(admitting.silentClient().hello()).contains(.sharedMemory))
    let refusing = try SharedMemoryFixture(["shm_uids": [other]])
    let client = try refusing.silentClient()
    #expect(try links(client.hello()) == [.tcp, .unix])
    try expectRefusal(client)
    #expect(refusing.server.context.sharedMemory.report.refusedTotal == 1)
    withExtendedLifetime((admitting, refusing)) {}
  }

  @Test("nobody, if it is off or there is no Unix socket")
  func off() throws {
    let fixture = try SharedMemoryFixture(["shm": ["off"]])
    let client = try fixture.silentClient()
    #expect(try links(client.hello()) == [.tcp, .unix])
    try expectRefusal(client)
    #expect(fixture.server.context.sharedMemory.report.offered == false)
    #expect(fixture.link(.sharedMemory) == nil)
    let plain = try makeServer()
    #expect(try links(RawClient(silent: plain.endpoints[0]).hello()) == .tcp)
    #expect(plain.context.sharedMemoryReport == nil)
    withExtendedLifetime((fixture, plain)) {}
  }

  private static let cases: [(UInt32, Int32, Set<UInt32>, Bool)] = [
    (1000, 7, [], true), (65_534, 7, [], false), (1000, 0, [], false), (65_534, 0, [], false),
    (65_534, 0, [65_534], true), (1000, 7, [65_534], false), (0, 7, [], true), (0, 7, [1], false),
  ]

  @Test("users whom the kernel cannot name only if they are listed", arguments: cases)
  func unknownUsers(user: UInt32, process: Int32, listed: Set<UInt32>, isAdmitted: Bool) {
    let settings = SharedMemorySettings(isWanted: true, users: listed, window: ByteCount(4096))
    #expect(settings.admits(user: user, process: process, unknownUser: 65_534) == isAdmitted)
  }

  @Test("and with whom it is shared is told: process, user, leases and window")
  func report() throws {
    let fixture = try SharedMemoryFixture()
    let key = try fixture.store("told", bytes(5000, seed: 1))
    let client = try fixture.client()
    #expect(fixture.server.control.report().sharedMemory?.connections.isEmpty == true)
    _ = try client.lend([.init(key: key)], id: 2)
    _ = try client.window(8192, id: 3)
    let report = try #require(fixture.server.control.report().sharedMemory)
    #expect(report.offered && report.leases == 1 && report.leasedBytes == 5000)
    #expect(report.windows == 1 && report.windowBytes == 8192)
    let connection = try #require(report.connections.first)
    #expect(connection.pid == getpid() && connection.uid == getuid())
    #expect(connection.namespace == "default" && connection.windowBytes == 8192)
    #expect(connection.leases == 1 && connection.leasedBytes == 5000)
    withExtendedLifetime(fixture) {}
  }

  // MARK: The fabric

  /// A connection that the server takes for one over RDMA.
  private func fabricClient(_ server: Server) throws -> RawClient {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else {
      throw RawClient.Broken()
    }
    let theirs = pair[1]
    _ = fcntl(theirs, F_SETFL, fcntl(theirs, F_GETFL) | O_NONBLOCK)
    let context = server.context
    server.loops[0].post { loop in
      let session = Session(
        over: Link(owning: theirs), kind: .rdma, loop: 0, context: context, now: loop.now())
      session.start(on: loop) {}
    }
    return RawClient(owning: pair[0])
  }

  @Test("tokens do not travel over a fabric that is not trusted; tickets do")
  func fabric() throws {
    let red = TokenHash(of: "red token")
    let flags = ["namespaces": ["red:\(red.hexadecimal)"]]
    let server = try makeServer(flags)
    #expect(try fabricClient(server).hello("red", token: "red token").status == .unauthorised)
    #expect(try fabricClient(server).hello().status == .unauthorised, "not even an open namespace")
    let asker = try RawClient(silent: server.endpoints[0])
    #expect(try asker.hello("red", token: "red token").status == .ok)
    let frame = try asker.exchange(.linkTicket(LinkTicketRequest()), id: 2)
    var reader = ByteReader(frame.body)
    let ticket = try LinkTicketResponse(from: &reader).ticket
    let client = try fabricClient(server)
    #expect(try client.hello("red", ticket: ticket).status == .ok)
    try client.ping(id: 2)
    #expect(try client.status(lend, id: 3) == .unsupported, "no shared memory there")
    let trusting = try makeServer(flags.merging(["rdma_trusted": ["yes"]]) { _, new in new })
    #expect(try fabricClient(trusting).hello("red", token: "red token").status == .ok)
    #expect(try fabricClient(trusting).hello("red", token: "wrong").status == .unauthorised)
    withExtendedLifetime((server, trusting)) {}
  }
}
