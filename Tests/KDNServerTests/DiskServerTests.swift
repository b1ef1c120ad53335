import Foundation
import KDNClient
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("The server with a disk")
struct DiskServerTests: ServerTesting {
  private static let size = 1 << 20
  private let layout: Layout
  private let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)

  init() throws {
    let group = LayoutGroup(kind: .opaque(bytesPerToken: 1 << 16), layers: [0])
    layout = try Layout(elementType: .i8, groups: [group])
  }

  /// Asks for whole objects at once; gives what became of each, with its bytes.
  private func get(
    _ client: Client, _ keys: [ObjectKey], size: Int, deadline: UInt32 = 0
  ) throws -> [(result: GetResult, bytes: ArraySlice<UInt8>)] {
    var room = [UInt8](repeating: 0, count: keys.count * size)
    let results = try room.withUnsafeMutableBytes { room in
      try client.connection.get(
        keys.map { GetRequest.Item(key: $0) },
        into: keys.indices.map {
          UnsafeMutableRawBufferPointer(rebasing: room[$0 * size..<($0 + 1) * size])
        }, deadlineMilliseconds: deadline)
    }
    return results.enumerated().map { ($1, room[$0 * size..<($0 + 1) * size]) }
  }

  @Test("what RAM evicted comes back from disk, whole, and counts as a hit there")
  func comesBack() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    let count = try fixture.fill(client, size: Self.size)
    for number in 0..<count {
      let got = try client.get(opaque("filler \(number)"), capacity: Self.size)
      #expect(got.bytes == bytes(Self.size, seed: UInt8(truncatingIfNeeded: number)))
    }
    let disk = try numbers(client, "disk")
    #expect(disk["hits_total"] as? Int ?? 0 > 0)
    #expect(disk["read_bytes_total"] as? Int ?? 0 >= Self.size)
    #expect(disk["objects"] as? Int == count)
    #expect(disk["bytes"] as? Int == count * Self.size)
    #expect(disk["engine"] as? String == "threads")
    let directory = try #require((disk["directories"] as? [[String: Any]])?.first)
    #expect(directory["path"] as? String == fixture.path)
    #expect(directory["state"] as? String == "serving")
    #expect(directory["used_bytes"] as? Int ?? .max <= directory["capacity_bytes"] as? Int ?? 0)
    withExtendedLifetime(server) {}
  }

  @Test("a batch larger than RAM is answered as far as it fits, the rest is over_credit")
  func batchLargerThanRAM() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    var keys: [ObjectKey] = []
    for number in 0..<56 {
      keys.append(opaque("batch \(number)"))
      try fixture.putDurably(client, keys[number], bytes(Self.size, seed: UInt8(number)))
    }
    var missing = Array(keys.indices)
    var rounds = 0
    while !missing.isEmpty, rounds < 10 {
      let found = try get(client, missing.map { keys[$0] }, size: Self.size)
      #expect(found.contains { $0.result.miss == nil }, "each round brings some")
      for (number, item) in zip(missing, found) where item.result.miss == nil {
        #expect(Array(item.bytes) == bytes(Self.size, seed: UInt8(number)))
      }
      if rounds == 0 { #expect(found.contains { $0.result.miss == .overCredit }) }
      missing = zip(missing, found).filter { $0.1.result.miss != nil }.map(\.0)
      rounds += 1
    }
    #expect(missing.isEmpty, "\(missing.count) of \(keys.count) never came")
    withExtendedLifetime(server) {}
  }

  @Test("an answer that the disk is late for tells over_deadline for what was not read")
  func deadline() throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(gate: gate)
    let client = try connect(server)
    _ = try fixture.fill(client, size: Self.size)
    let keys = [opaque("filler 0"), opaque("in RAM"), opaque("never stored")]
    _ = try client.put(
      PutBeginRequest(key: keys[1], totalBytes: 100), bytes: bytes(100, seed: 7))
    gate.shut(.reads)
    let late = try get(client, keys, size: Self.size, deadline: 50)
    #expect(late.map(\.result.miss) == [.overDeadline, nil, .neverStored])
    #expect(Array(late[1].bytes.prefix(100)) == bytes(100, seed: 7))
    #expect(try numbers(client, "connections")["waiting_gets"] as? Int == 0)
    gate.open()
    let found = try get(client, keys, size: Self.size)
    #expect(found.map(\.result.miss) == [nil, nil, .neverStored])
    #expect(Array(found[0].bytes) == bytes(Self.size, seed: 0))
    withExtendedLifetime(server) {}
  }

  @Test("a client that goes away while its object is being read leaves nothing behind")
  func closesWhileReading() throws {
    let fixture = try DiskFixture()
    let gate = DiskGate()
    let server = try fixture.start(gate: gate)
    let client = try connect(server)
    _ = try fixture.fill(client, size: Self.size)
    gate.shut(.reads)
    Thread.detachNewThread {
      guard let doomed = try? connect(server) else { return }
      _ = try? doomed.get(opaque("filler 0"), capacity: Self.size, deadlineMilliseconds: 20)
      doomed.connection.close()
    }
    while try numbers(client, "connections")["accepted_total"] as? Int != 2 {}
    while try numbers(client, "connections")["open"] as? Int != 1 {}
    gate.open()
    #expect(try client.get(opaque("filler 0"), capacity: Self.size).result.miss == nil)
    #expect(try numbers(client, "connections")["waiting_gets"] as? Int == 0)
    withExtendedLifetime(server) {}
  }

  @Test("a GET that waits gets what another stores, and what is on disk along with it")
  func waitsForBoth() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    _ = try fixture.fill(client, size: Self.size)
    let soon = opaque("soon")
    Thread.detachNewThread {
      guard let writer = try? connect(server) else { return }
      while (try? numbers(writer, "connections")["waiting_gets"] as? Int) == 0 {}
      _ = try? writer.put(
        PutBeginRequest(key: soon, totalBytes: Self.size), bytes: bytes(Self.size, seed: 99))
    }
    var room = [UInt8](repeating: 0, count: 2 * Self.size)
    let results = try room.withUnsafeMutableBytes { room in
      try client.connection.get(
        [GetRequest.Item(key: soon), GetRequest.Item(key: opaque("filler 0"))],
        into: [
          UnsafeMutableRawBufferPointer(rebasing: room[..<Self.size]),
          UnsafeMutableRawBufferPointer(rebasing: room[Self.size...]),
        ], flags: .wait)
    }
    #expect(results.map(\.miss) == [nil, nil])
    #expect(Array(room[..<Self.size]) == bytes(Self.size, seed: 99))
    #expect(Array(room[Self.size...]) == bytes(Self.size, seed: 0))
    withExtendedLifetime(server) {}
  }

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
    async let isEmpty = fixture.stop(server)
    #expect(try raw.receive().header.operation == .goAway)
    gate.open()
    let committed = try raw.receive()
    #expect(committed.header.requestID == 3 && committed.status == .ok)
    #expect(await isEmpty)
  }

  @Test("a store of what only the disk has is present, or a conflict if the bytes differ")
  func presentOnDisk() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    _ = try fixture.fill(client, size: Self.size)
    let key = opaque("filler 0")
    let facts = PutBeginRequest(key: key, totalBytes: Self.size)
    #expect(try client.put(facts, bytes: bytes(Self.size, seed: 0)) == .present)
    let error = failure { _ = try client.put(facts, bytes: bytes(Self.size, seed: 1)) }
    #expect(status(of: error) == .conflict)
    withExtendedLifetime(server) {}
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

  @Test("a purge reaches the disk, and PREFETCH brings back to RAM what is left")
  func purgeAndPrefetch() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    let count = try fixture.fill(client, size: Self.size)
    let purged = try client.purge(.keys([opaque("filler 0")]))
    #expect(purged.objects == 1)
    #expect(purged.bytes == UInt64(Self.size))
    let got = try client.get(opaque("filler 0"), capacity: Self.size)
    #expect(got.result.miss == .purged)
    try fixture.putDurably(client, opaque("one more"), bytes(3 * Self.size, seed: 1))
    let cold = opaque("filler 1")
    let reads = try numbers(client, "disk")["reads_total"] as? Int ?? 0
    #expect(try client.prefetch([cold, opaque("filler 0")]).started == 1)
    while try client.prefetch([cold]).present == 0 {}
    #expect(try client.get(cold, capacity: Self.size).bytes == bytes(Self.size, seed: 1))
    #expect(try numbers(client, "disk")["reads_total"] as? Int == reads + 1)
    #expect(try numbers(client, "disk")["objects"] as? Int == count)
    #expect(try client.purge(.namespace).objects == UInt64(count))
    #expect(try client.exists([cold, opaque("filler 2")]).trueCount == 0)
    withExtendedLifetime(server) {}
  }

  @Test("MATCH tells which chunks come from which tier, and how long reading them will take")
  func matchTiers() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    let id = try client.register(layout).layout
    let root = try HashChain.root(model: "test")
    let hashes = try HashChain.hashes(root: root, tokens: Array(0..<64), chunkTokens: 16)
    for (index, hash) in hashes.enumerated() {
      let facts = PutBeginRequest(
        key: ObjectKey(hash: hash, layout: id, part: part),
        parent: index == 0 ? .none : hashes[index - 1], totalBytes: 16 << 16,
        firstToken: UInt32(16 * index), tokenCount: 16, durability: .disk)
      _ = try client.put(facts, bytes: bytes(16 << 16, seed: UInt8(index)))
    }
    let query = MatchRequest(hashes: hashes, parts: [part], layout: id)
    #expect(try client.match(query).tiers == MatchResponse.Tiers(ram: 4))
    var number = 0
    while try client.match(query).tiers.ram == 4 {
      try fixture.putDurably(client, opaque("other \(number)"), bytes(Self.size, seed: 0))
      number += 1
    }
    let match = try client.match(query)
    #expect(match.matchedChunks == 4)
    #expect(match.tiers.ram + match.tiers.disk == 4 && match.tiers.disk > 0)
    #expect(match.matchedBytes == 4 << 20)
    // Until both rates have been measured: the reading above, and some sending that had to wait.
    let all =
      hashes.map { ObjectKey(hash: $0, layout: id, part: part) }
      + (0..<number).map { opaque("other \($0)") }
    while try client.match(query).estimateMicroseconds == 0 {
      _ = try get(client, all, size: Self.size)
    }
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
}
