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

  @Test("MATCH tells which chunks come from which tier")
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
    withExtendedLifetime(server) {}
  }
}
