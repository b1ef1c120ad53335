import Foundation
import KDNClient
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("The server")
struct ServerTests: ServerTesting {
  @Test("stores a chain, matches and leases it, and gives a reader with other heads its heads")
  func chain() throws {
    let server = try makeServer()
    let client = try connect(server)
    let group = LayoutGroup(kind: .attention(kvHeads: 4, headDim: 8), layers: [0, 1, 2])
    let layout = try Layout(elementType: .bf16, groups: [group])
    let id = try client.register(layout).layout
    let part = Part(firstLayer: 0, layerCount: 3, firstKVHead: 0, kvHeadCount: 4)
    let root = try HashChain.root(model: "test")
    let hashes = try HashChain.hashes(root: root, tokens: Array(0..<64), chunkTokens: 16)
    let geometry = LayoutGeometry(layout)
    let size = try geometry.byteCount(of: part, tokens: 16)
    for (index, hash) in hashes.dropLast().enumerated() {
      let facts = PutBeginRequest(
        key: ObjectKey(hash: hash, layout: id, part: part),
        parent: index == 0 ? .none : hashes[index - 1], totalBytes: size,
        firstToken: UInt32(16 * index), tokenCount: 16)
      #expect(try client.put(facts, bytes: bytes(size, seed: UInt8(index))) == .published)
    }
    let match = try client.match(
      MatchRequest(hashes: hashes, parts: [part], layout: id, leaseMilliseconds: 1_000))
    #expect(match.matchedChunks == 3)
    #expect(match.miss == .neverStored)
    #expect(match.matchedBytes == 3 * size)
    #expect(try numbers(client, "pool")["leases"] as? Int == 1)
    try client.release(lease: match.leaseID)
    #expect(try numbers(client, "pool")["leases"] as? Int == 0)

    let wanted = Part(firstLayer: 1, layerCount: 2, firstKVHead: 2, kvHeadCount: 1)
    let ranges = try geometry.ranges(of: wanted, in: part, tokens: 16)
    let stored = bytes(size, seed: 1)
    let expected = ranges.flatMap { stored[$0] }
    var found = [UInt8](repeating: 0, count: expected.count)
    let key = ObjectKey(hash: hashes[1], layout: id, part: part)
    let results = try found.withUnsafeMutableBytes {
      try client.connection.get(
        [GetRequest.Item(key: key, selection: .part(wanted))], into: [$0])
    }
    #expect(results[0].miss == nil)
    #expect(found == expected)
    let received = try numbers(client, "connections")["received_bytes_total"] as? Int
    #expect(received ?? 0 > 3 * size, "bytes are counted while the connection is open")
    withExtendedLifetime(server) {}
  }

  @Test("keys are written once: the same bytes again are fine, others are a conflict")
  func writeOnce() throws {
    let server = try makeServer()
    let client = try connect(server)
    let facts = PutBeginRequest(key: opaque("once"), totalBytes: 100_000)
    let first = bytes(100_000, seed: 1)
    #expect(try client.put(facts, bytes: first) == .published)
    #expect(try client.put(facts, bytes: first) == .present)
    let error = failure { _ = try client.put(facts, bytes: bytes(100_000, seed: 2)) }
    #expect(status(of: error) == .conflict)
    #expect(try client.get(opaque("once"), capacity: 100_000).bytes == first)
    withExtendedLifetime(server) {}
  }

  @Test("a GET that waits is answered when the key is committed, on another connection too")
  func waitsForCommit() throws {
    let server = try makeServer()
    let reader = try connect(server)
    let value = bytes(3_000_000, seed: 7)
    let key = opaque("soon")
    Thread.detachNewThread {
      // The writer stores once the server counts the waiting GET.
      guard let writer = try? connect(server) else { return }
      while (try? numbers(writer, "connections")["waiting_gets"] as? Int) == 0 {}
      _ = try? writer.put(PutBeginRequest(key: key, totalBytes: value.count), bytes: value)
    }
    let got = try reader.get(key, capacity: value.count, flags: .wait)
    #expect(got.result.miss == nil)
    #expect(got.bytes == value)
    withExtendedLifetime(server) {}
  }

  @Test("a GET that waits in vain is a miss with the cause over_deadline")
  func waitsInVain() throws {
    let server = try makeServer()
    let client = try connect(server)
    let got = try client.get(opaque("never"), capacity: 1, flags: .wait, deadlineMilliseconds: 30)
    #expect(got.result.miss == .overDeadline)
    #expect(try numbers(client, "connections")["waiting_gets"] as? Int == 0)
    withExtendedLifetime(server) {}
  }

  @Test("a full pool evicts what it may, never what is pinned, and then says busy with a hint")
  func fullPool() throws {
    let server = try makeServer()
    let client = try connect(server)
    let size = 2 << 20
    var kept = 0
    while true {
      let facts = PutBeginRequest(key: opaque("pinned \(kept)"), totalBytes: size)
      let error = failure {
        _ = try client.put(facts, bytes: bytes(size, seed: UInt8(kept)))
      }
      if let error {
        #expect(status(of: error) == .busy)
        #expect(error.retryAfterMilliseconds != nil)
        break
      }
      let key = opaque("pinned \(kept)")
      #expect(try client.pin([key], ttlMilliseconds: 60_000).trueCount == 1)
      kept += 1
    }
    #expect(kept >= 8)
    for number in 0..<kept {
      let got = try client.get(opaque("pinned \(number)"), capacity: size)
      #expect(got.bytes == bytes(size, seed: UInt8(number)))
    }
    _ = try client.unpin([opaque("pinned 0")])
    let facts = PutBeginRequest(key: opaque("later"), totalBytes: size)
    #expect(try client.put(facts, bytes: bytes(size, seed: 99)) == .published)
    #expect(try client.get(opaque("pinned 0"), capacity: size).result.miss == .evicted)
    withExtendedLifetime(server) {}
  }

  @Test("the connection after the cap gets a typed refusal, the others go on")
  func connectionCap() throws {
    let server = try makeServer(["max_connections": ["2"]])
    let first = try connect(server)
    let second = try connect(server)
    let error = failure { _ = try connect(server) }
    #expect(status(of: error) == .tooManyConnections)
    #expect(error?.retryAfterMilliseconds != nil)
    try first.ping()
    try second.ping()
    withExtendedLifetime(server) {}
  }

  @Test("leases and reservations end with their connection")
  func connectionEnds() throws {
    let server = try makeServer()
    let watcher = try connect(server)
    let group = LayoutGroup(kind: .opaque(bytesPerToken: 8), layers: [0])
    let layout = try watcher.register(Layout(elementType: .i8, groups: [group])).layout
    let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
    let hash = HashChain.opaque([1])
    let facts = PutBeginRequest(
      key: ObjectKey(hash: hash, layout: layout, part: part), totalBytes: 128, tokenCount: 16)
    do {
      let client = try connect(server)
      _ = try client.put(facts, bytes: bytes(128, seed: 0))
      let query = MatchRequest(
        hashes: [hash], parts: [part], layout: layout, leaseMilliseconds: 60_000)
      #expect(try client.match(query).leaseID != 0)
      #expect(try numbers(watcher, "pool")["leases"] as? Int == 1)
      client.connection.close()
    }
    while try numbers(watcher, "connections")["open"] as? Int != 1 {}
    #expect(try numbers(watcher, "pool")["leases"] as? Int == 0)
    withExtendedLifetime(server) {}
  }

  @Test("draining tells every client, refuses new work, and ends when all are gone")
  func drains() async throws {
    let server = try makeServer()
    let client = try connect(server)
    try client.ping()
    let isEmpty = await withCheckedContinuation { done in
      server.drain { done.resume(returning: $0) }
    }
    #expect(isEmpty)
    #expect(status(of: failure { try client.ping() }) == .draining)
  }
}
