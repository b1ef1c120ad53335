import KDNClient
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("Durability")
struct DiskDurabilityTests: ServerTesting {
  private static let size = 1 << 20

  @Test("a durable PUT is answered after the disk has synchronised, or told the deadline passed")
  func durableDeadline() throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(gate: gate)
    let client = try connect(server)
    let facts = PutBeginRequest(key: opaque("safe"), totalBytes: 1000, durability: .disk)
    gate.shut(.syncs)
    let error = failure {
      _ = try client.put(facts, bytes: bytes(1000, seed: 1), deadlineMilliseconds: 50)
    }
    #expect(status(of: error) == .deadline)
    #expect(try client.get(opaque("safe"), capacity: 1000).bytes == bytes(1000, seed: 1))
    gate.open()
    #expect(try client.put(facts, bytes: bytes(1000, seed: 1)) == .present)
    #expect(try numbers(client, "disk")["synced_total"] as? Int ?? 0 > 0)
    #expect(try numbers(client, "connections")["open_transfers"] as? Int == 0)
    withExtendedLifetime(server) {}
  }

  @Test("BEGIN says present for durability disk only once the object is durable")
  func presentIsDurable() throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(gate: gate)
    let client = try connect(server)
    gate.shut(.syncs)
    let plain = PutBeginRequest(key: opaque("soft"), totalBytes: 1000)
    #expect(try client.put(plain, bytes: bytes(1000, seed: 1)) == .published)
    let facts = PutBeginRequest(key: opaque("soft"), totalBytes: 1000, durability: .disk)
    let raw = try RawClient(server.endpoints[0])
    try raw.ask(.putBegin(facts), id: 2, deadlineMilliseconds: 50)
    #expect(try raw.receive().status == .deadline)
    try raw.ask(.putBegin(facts), id: 3)
    try raw.ask(.exists(KeysRequest(keys: [])), id: 4)
    #expect(try raw.receive().header.requestID == 4, "BEGIN still waits")
    gate.open()
    let begun = try raw.receive()
    #expect(begun.header.requestID == 3 && begun.status == .ok)
    var reader = ByteReader(begun.body)
    let sum = Checksum(of: bytes(1000, seed: 1))
    #expect(try PutBeginResponse(from: &reader) == .present(sum))
    withExtendedLifetime(server) {}
  }

  @Test("a request id used again after its deadline is not answered for the request before")
  func idUsedAgain() throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(gate: gate)
    let raw = try RawClient(server.endpoints[0])
    gate.shut(.syncs)
    let slow = PutBeginRequest(key: opaque("slow"), totalBytes: 1000, durability: .disk)
    try raw.put(slow, bytes(1000, seed: 1), id: 2, commitID: 3, deadlineMilliseconds: 50)
    #expect(try raw.receive().status == .ok)
    let late = try raw.receive()
    #expect(late.header.requestID == 3 && late.status == .deadline)
    let next = PutBeginRequest(key: opaque("next"), totalBytes: 1000, durability: .disk)
    try raw.put(next, bytes(1000, seed: 2), id: 4, commitID: 3)
    #expect(try raw.receive().header.requestID == 4)
    try raw.ask(.exists(KeysRequest(keys: [])), id: 5)
    #expect(try raw.receive().header.requestID == 5, "COMMIT has been taken in by now")
    gate.open()
    let answer = try raw.receive()
    #expect(answer.header.requestID == 3 && answer.status == .ok)
    var reader = ByteReader(answer.body)
    let response = try PutCommitResponse(from: &reader)
    #expect(response.checksum == Checksum(of: bytes(1000, seed: 2)))
    withExtendedLifetime(server) {}
  }

  @Test("credit of a durable PUT stays taken until it is answered")
  func creditWhileDurable() throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(["credit": ["1MiB"]], gate: gate)
    let raw = try RawClient(server.endpoints[0])
    gate.shut(.syncs)
    let facts = PutBeginRequest(key: opaque("first"), totalBytes: Self.size, durability: .disk)
    try raw.put(facts, bytes(Self.size, seed: 1), id: 2, commitID: 3)
    #expect(try raw.receive().status == .ok)
    let more = PutBeginRequest(key: opaque("second"), totalBytes: 1)
    try raw.ask(.putBegin(more), id: 5)
    #expect(try raw.receive().status == .overCredit)
    gate.open()
    let committed = try raw.receive()
    #expect(committed.header.requestID == 3 && committed.status == .ok)
    try raw.ask(.putBegin(more), id: 6)
    #expect(try raw.receive().status == .ok)
    withExtendedLifetime(server) {}
  }

  @Test("a drain waits for a durable PUT")
  func drainWaitsForDurable() async throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(gate: gate)
    let raw = try RawClient(server.endpoints[0])
    gate.shut(.syncs)
    let facts = PutBeginRequest(key: opaque("last"), totalBytes: 1000, durability: .disk)
    try raw.put(facts, bytes(1000, seed: 1), id: 2, commitID: 3)
    #expect(try raw.receive().status == .ok)
    // Begun on this very thread: tests that block may have taken all of the shared ones.
    let (ends, ended) = AsyncStream.makeStream(of: Bool.self)
    server.drain { ended.yield($0) }
    #expect(try raw.receive().header.operation == .goAway)
    gate.open()
    let committed = try raw.receive()
    #expect(committed.header.requestID == 3 && committed.status == .ok)
    #expect(await ends.first { _ in true } == true)
  }

  @Test("what does not fit a segment is refused for durability disk and kept in RAM otherwise")
  func tooLargeForDisk() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    let value = bytes(5 << 20, seed: 3)
    let durable = PutBeginRequest(key: opaque("big"), totalBytes: value.count, durability: .disk)
    #expect(status(of: failure { _ = try client.put(durable, bytes: value) }) == .tooLarge)
    let plain = PutBeginRequest(key: opaque("big"), totalBytes: value.count)
    #expect(try client.put(plain, bytes: value) == .published)
    #expect(try client.get(opaque("big"), capacity: value.count).bytes == value)
    withExtendedLifetime(server) {}
  }

  @Test("without a disk durability is unsupported and STATS has no part for it")
  func noDisk() throws {
    let server = try makeServer()
    let client = try connect(server)
    let facts = PutBeginRequest(key: opaque("a"), totalBytes: 10, durability: .disk)
    let error = failure { _ = try client.put(facts, bytes: bytes(10, seed: 0)) }
    #expect(status(of: error) == .unsupported)
    #expect(try part(client, "disk") == nil)
    withExtendedLifetime(server) {}
  }

  @Test("a day's budget is for what is written unasked, not for durable stores")
  func budget() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start(["disk_write_budget": ["1000"]])
    let client = try connect(server)
    let plain = PutBeginRequest(key: opaque("plain"), totalBytes: 1001)
    _ = try client.put(plain, bytes: bytes(1001, seed: 1))
    let behind = try numbers(client, "disk")["write_behind"] as? [String: Any]
    #expect(behind?["refused_total"] as? Int == 1)
    #expect(try numbers(client, "disk")["objects"] as? Int == 0)
    try fixture.putDurably(client, opaque("durable"), bytes(1001, seed: 1))
    #expect(try numbers(client, "disk")["objects"] as? Int == 1)
    withExtendedLifetime(server) {}
  }
}
