import KDNClient
import KDNCore
import KDNPool
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

@Suite("A tenant's connection")
struct TenantSessionTests: ServerTesting {
  private static let red = TokenHash(of: "red token")

  /// A server with the development namespace under `limits` and a tenant `red`.
  private func server(_ limits: String? = nil, _ flags: [String: [String]] = [:]) throws -> Server {
    var all = flags
    all["namespaces"] = ["red:\(Self.red.hexadecimal)"]
    if let limits { all["namespace_limits"] = ["default \(limits)"] }
    return try makeServer(all)
  }

  private func ping(_ client: RawClient, _ id: UInt64) throws -> RawClient.Frame {
    try client.ask(.exists(KeysRequest(keys: [])), id: id)
    return try client.receive()
  }

  // MARK: Entering

  @Test("is refused with the same bytes for a wrong token, no such namespace and an ended token")
  func refusals() throws {
    let server = try server()
    let ended = Tenant(
      try NamespaceName("ended"),
      tokens: [TenantToken(TokenHash(of: "was right"), expiresUnixMilliseconds: 1)], source: .file)
    let tenants = server.context.tenants
    tenants.replace(TenantSnapshot(Array(tenants.snapshot.tenants.values) + [ended]))
    let attempts = [
      ("red", "wrong"), ("red", ""), ("nobody", "red token"), ("nobody", ""),
      ("ended", "was right"),
    ]
    var answers: Set<[UInt8]> = []
    for (namespace, token) in attempts {
      let client = try RawClient(silent: server.endpoints[0])
      let answer = try client.hello(namespace, token: token)
      #expect(answer.status == .unauthorised)
      var writer = ByteWriter()
      answer.header.encode(into: &writer)
      answers.insert(writer.bytes + answer.body)
      #expect(client.isAtEnd())
    }
    #expect(answers.count == 1)
    let right = try RawClient(silent: server.endpoints[0])
    #expect(try right.hello("red", token: "red token").status == .ok)
    withExtendedLifetime(server) {}
  }

  @Test("gets no answer to what it sent behind a HELLO that is refused")
  func pipelined() throws {
    let server = try server()
    let client = try RawClient(silent: server.endpoints[0])
    let hello = HelloRequest(namespace: try NamespaceName("red"), token: "wrong")
    try client.ask(.hello(hello), id: 1)
    for id in UInt64(2)...20 { try client.ask(.exists(KeysRequest(keys: [])), id: id) }
    let answer = try client.receive()
    #expect(answer.header.requestID == 1 && answer.status == .unauthorised)
    #expect(client.isAtEnd(), "in good order, though the server has read nothing more")
    withExtendedLifetime(server) {}
  }

  @Test("is let in at once while many wrong tokens from the same address wait for their answers")
  func wrongTokens() throws {
    let server = try server(nil, ["handshake_timeout_ms": ["2000"]])
    let wrong = try (0..<80).map { _ in
      let client = try RawClient(silent: server.endpoints[0])
      let hello = HelloRequest(namespace: try NamespaceName("red"), token: "wrong")
      try client.ask(.hello(hello), id: 1)
      return client
    }
    let right = try RawClient(silent: server.endpoints[0])
    #expect(try right.hello("red", token: "red token").status == .ok)
    let answered = wrong.filter { (try? $0.receive().status) == .unauthorised }
    #expect(answered.count >= AttemptLimiter.burst)
    #expect(wrong.allSatisfy { $0.isAtEnd() })
    #expect(server.context.counters.snapshot.unauthorisedTotal == 80)
    withExtendedLifetime(server) {}
  }

  @Test("is told when the tenant has as many as it may, after its token was right")
  func connectionLimit() throws {
    let server = try server("connections=2")
    let first = try RawClient(server.endpoints[0])
    let second = try RawClient(server.endpoints[0])
    let third = try RawClient(silent: server.endpoints[0])
    let refusal = try third.hello()
    #expect(refusal.status == .tooManyConnections)
    #expect(try refusal.error().limit == 2)
    #expect(try refusal.error().retryAfterMilliseconds > 0)
    #expect(third.isAtEnd())
    let wrong = try RawClient(silent: server.endpoints[0])
    #expect(try wrong.hello("default", token: "wrong").status == .unauthorised)
    let other = try RawClient(silent: server.endpoints[0])
    #expect(try other.hello("red", token: "red token").status == .ok, "red has no such limit")
    #expect(try ping(first, 2).status == .ok)
    #expect(try ping(second, 2).status == .ok)
    withExtendedLifetime(server) {}
  }

  // MARK: Rates

  @Test("is told busy and when to ask again beyond its requests a second; others are not")
  func requestRate() throws {
    let server = try server("requests=5")
    let clients = try (0..<2).map { _ in try RawClient(server.endpoints[0]) }
    var refusals: [RawClient.Frame] = []
    for id in UInt64(2)...21 {
      for client in clients {
        let answer = try ping(client, id)
        if answer.status == .busy { refusals.append(answer) }
      }
    }
    #expect(!refusals.isEmpty)
    for refusal in refusals {
      let error = try refusal.error()
      #expect((error.field, error.limit) == ("requestsPerSecond", 5))
      #expect((1...200).contains(error.retryAfterMilliseconds))
    }
    try clients[0].ask(.release(ReleaseRequest(leaseID: 9)), id: 50)
    #expect(try clients[0].receive().status == .notFound, "what gives back is never refused")
    let red = try RawClient(silent: server.endpoints[0])
    #expect(try red.hello("red", token: "red token").status == .ok)
    for id in UInt64(2)...30 { #expect(try ping(red, id).status == .ok) }
    let counts = try server.context.pool.namespace(NamespaceName("default")).counters.snapshot
    #expect(counts.rateRefusals == UInt64(refusals.count))
    #expect(counts.errors[Int(Status.busy.rawValue)] == counts.rateRefusals)
    #expect(counts.requests == 41)
    withExtendedLifetime(server) {}
  }

  @Test("a PUT beyond the rate is busy at BEGIN and again at COMMIT, and its bytes are dropped")
  func putRate() throws {
    let server = try server("bytes=1MiB")
    let client = try RawClient(server.endpoints[0])
    let large = bytes(3 << 20, seed: 1)
    let facts = PutBeginRequest(key: opaque("large"), totalBytes: large.count)
    try client.put(facts, large, id: 2, commitID: 3)
    #expect(try client.receive().status == .ok, "more than a second's worth passes when it is full")
    #expect(try client.receive().status == .ok)
    let small = PutBeginRequest(key: opaque("small"), totalBytes: 1000)
    try client.put(small, bytes(1000, seed: 2), id: 4, commitID: 5)
    for id in [4, 5] as [UInt64] {
      let refusal = try client.receive()
      #expect(refusal.header.requestID == id)
      #expect(refusal.status == .busy)
      let error = try refusal.error()
      #expect((error.field, error.limit) == ("bytesPerSecond", 1 << 20))
      #expect((1...2000).contains(error.retryAfterMilliseconds))
    }
    try client.ask(.get(GetRequest(items: [.init(key: opaque("large"))])), id: 6)
    #expect(try client.receive().status == .busy)
    #expect(try ping(client, 7).status == .ok)
    withExtendedLifetime(server) {}
  }

  @Test("other limits hold for open connections at once; without its tenant a connection ends")
  func liveChange() throws {
    let server = try server()
    let context = server.context
    let client = try RawClient(silent: server.endpoints[0])
    #expect(try client.hello("red", token: "red token").status == .ok)
    for id in UInt64(2)...50 { #expect(try ping(client, id).status == .ok) }
    let red = try NamespaceName("red")
    let limits = NamespaceLimits(requestsPerSecond: 1)
    context.tenants.replace(
      TenantSnapshot([
        Tenant(red, limits: limits, tokens: [TenantToken(Self.red)], source: .file)
      ]))
    context.admission.apply()
    let statuses = try (UInt64(51)...53).map { try ping(client, $0).status }
    #expect(statuses[0] == .ok && statuses.contains(.busy))
    context.tenants.replace(TenantSnapshot([]))
    context.admission.apply()
    let farewell = try client.receive()
    #expect(farewell.header.operation == .goAway && farewell.status == .unauthorised)
    #expect(client.isAtEnd())
    withExtendedLifetime(server) {}
  }

  // MARK: Ending

  @Test("accepted while the daemon drains, it is told so and not cut off")
  func drainingHello() throws {
    let server = try server()
    server.context.startDraining()
    for _ in 0..<20 {
      let client = try RawClient(silent: server.endpoints[0])
      let answer = try client.hello()
      #expect(answer.header.operation == .goAway && answer.status == .draining)
      #expect(client.isAtEnd())
    }
    withExtendedLifetime(server) {}
  }

  @Test("above the cap it is told so and not cut off, though it has sent its HELLO")
  func cap() throws {
    let server = try server(nil, ["max_connections": ["1"]])
    let first = try RawClient(server.endpoints[0])
    for _ in 0..<20 {
      let client = try RawClient(silent: server.endpoints[0])
      let answer = try client.hello()
      #expect(answer.header.operation == .goAway && answer.status == .tooManyConnections)
      #expect(client.isAtEnd())
    }
    #expect(try ping(first, 2).status == .ok)
    withExtendedLifetime(server) {}
  }

  // MARK: Numbers

  @Test("is counted by tenant, by operation and by link")
  func numbers() throws {
    let server = try server()
    let context = server.context
    let client = try connect(server)
    let value = bytes(50_000, seed: 3)
    #expect(
      try client.put(PutBeginRequest(key: opaque("a"), totalBytes: 50_000), bytes: value)
        == .published)
    #expect(try client.get(opaque("a"), capacity: 50_000).bytes == value)
    #expect(status(of: failure { try client.release(lease: 77) }) == .notFound)
    let counts = try context.pool.namespace(NamespaceName("default")).counters.snapshot
    #expect(counts.connections == 1)
    #expect(counts.requests == 4)
    #expect(counts.errors.reduce(0, +) == 1)
    #expect(counts.receivedBytes > 50_000)
    let reports = Dictionary(
      uniqueKeysWithValues: context.operations.reports.map { ($0.name, $0) })
    #expect(
      reports.mapValues(\.requestsTotal)
        == ["HELLO": 1, "PUT_BEGIN": 1, "PUT_COMMIT": 1, "GET": 1, "RELEASE": 1])
    #expect(reports["RELEASE"]?.errorsTotal == ["not_found": 1])
    let link = try #require(context.links.reports.first)
    #expect((link.kind, link.open, link.acceptedTotal) == ("tcp", 1, 1))
    #expect(link.receivedBytesTotal > 50_000)
    let others = try context.pool.namespace(NamespaceName("red")).counters.snapshot
    #expect((others.requests, others.receivedBytes, others.sentBytes) == (0, 0, 0))
    #expect((others.connections, others.stores, others.ramHits) == (0, 0, 0))
    client.connection.close()
    while context.links.reports.first?.open != 0 {}
    let after = try context.pool.namespace(NamespaceName("default")).counters.snapshot
    #expect(after.connections == 0)
    #expect(after.sentBytes > 50_000)
    #expect(after.sentBytes == context.links.reports.first?.sentBytesTotal)
  }

  @Test("leaves its slow requests in the log, with where their time went and without their keys")
  func slowRequests() throws {
    let server = try server(nil, ["slow_request_ms": ["20"]])
    let client = try connect(server)
    let got = try client.get(opaque("never"), capacity: 1, flags: .wait, deadlineMilliseconds: 40)
    #expect(got.result.miss == .overDeadline)
    let entry = try #require(server.context.slowLog.entries.first)
    #expect((entry.operation, entry.namespace, entry.status) == ("GET", "default", "ok"))
    #expect(entry.items == 1 && entry.bytes == 0)
    #expect(entry.waitMicroseconds > 0 && entry.diskMicroseconds == 0)
    #expect(entry.totalMicroseconds >= entry.waitMicroseconds)
    #expect(!"\(entry)".contains(opaque("never").hash.description))
    withExtendedLifetime(server) {}
  }

  @Test("a slow PUT shows how long it waited for the disk, and how it ended")
  func slowDisk() throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(["slow_request_ms": ["20"]], gate: gate)
    let client = try connect(server)
    gate.shut(.syncs)
    let facts = PutBeginRequest(key: opaque("safe"), totalBytes: 1000, durability: .disk)
    let error = failure {
      _ = try client.put(facts, bytes: bytes(1000, seed: 1), deadlineMilliseconds: 50)
    }
    #expect(status(of: error) == .deadline)
    let entry = try #require(server.context.slowLog.entries.first { $0.operation == "PUT_COMMIT" })
    #expect((entry.status, entry.bytes) == ("deadline", 1000))
    #expect(entry.diskMicroseconds > 0 && entry.waitMicroseconds == 0)
    gate.open()
    withExtendedLifetime(server) {}
  }

  @Test("is told over_quota for stores and pins that its own pins are in the way of")
  func overQuota() throws {
    let server = try server("ram=8MiB pinned=4MiB")
    let client = try connect(server)
    let size = 3 << 20
    for name in ["a", "b"] {
      let facts = PutBeginRequest(key: opaque(name), totalBytes: size)
      #expect(try client.put(facts, bytes: bytes(size, seed: 1)) == .published)
    }
    #expect(try client.pin([opaque("a")], ttlMilliseconds: 60_000).trueCount == 1)
    let pin = failure { _ = try client.pin([opaque("b")], ttlMilliseconds: 60_000) }
    #expect(status(of: pin) == .overQuota)
    let large = PutBeginRequest(key: opaque("c"), totalBytes: 6 << 20)
    let store = failure { _ = try client.put(large, bytes: bytes(6 << 20, seed: 2)) }
    #expect(status(of: store) == .overQuota)
    let counts = try server.context.pool.namespace(NamespaceName("default")).counters.snapshot
    #expect(counts.quotaRefusals == 2)
    #expect(counts.errors[Int(Status.overQuota.rawValue)] >= 2)
    withExtendedLifetime(server) {}
  }
}
