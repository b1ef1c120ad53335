import Dispatch
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

extension OverFabric {
  @Suite("Objects in remote places")
  struct RemotePlaceTests: FabricTesting {
    @Test(
      "go there and back whatever their size",
      arguments: [1, 4087, 4096, 65_537, 1 << 20, (4 << 20) + 1, 96 << 20])
    func roundTrip(size: Int) throws {
      let server = try makeServer(["ram": ["160MiB"]])
      let client = try connect(server)
      let content = bytes(size, seed: 7)
      try store("object", content, client)
      try expect("object", content, client)
      try eventually("what went out is counted once it is acknowledged") {
        try report(server).sentBytesTotal > UInt64(size)
      }
      let counts = try report(server)
      #expect(counts.receivedBytesTotal > UInt64(size))
      #expect(counts.copiedBytesTotal == 0, "no payload passes through the processor")
      #expect(counts.hashedBytesTotal == UInt64(size), "the checksum of what came was taken once")
    }

    @Test("are read from several regions, one behind the other")
    func severalRegions() throws {
      let server = try makeServer()
      let client = try connect(server)
      let content = bytes(3_000_001, seed: 3)
      let room = try Room(content, client)
      let cuts = [0..<1, 1..<70_000, 70_000..<2_999_999, 2_999_999..<3_000_001]
      let answer = try client.store(
        key("pieces"), cuts.map { try room.remote($0) }, checksum: Checksum(of: content))
      #expect(answer.status == .ok)
      try expect("pieces", content, client)
    }

    @Test("come in ranges, in one region each, with a checksum of just those bytes")
    func ranges() throws {
      let server = try makeServer()
      let client = try connect(server)
      let content = bytes(9 << 20, seed: 1)
      try store("object", content, client)
      let ranges = [0..<1, (5 << 20)..<(9 << 20), 4095..<4097, 100..<(1 << 20)]
      let wanted = ranges.flatMap { content[$0] }
      let room = try Room(wanted.count + 64, client)
      let found = try client.fetch([item("object", .ranges(ranges))], into: [room.remote()])
      #expect(found[0].sentBytes == wanted.count)
      #expect(found[0].sentChecksum == Checksum(of: wanted))
      #expect(room.holds(wanted))
      #expect(room.isUntouched(wanted.count..<room.bytes.count), "nothing behind is written")
    }

    @Test("of a layout come by layers and heads")
    func parts() throws {
      let server = try makeServer()
      let client = try connect(server)
      let group = LayoutGroup(kind: .attention(kvHeads: 8, headDim: 16), layers: Array(0..<24))
      let layout = try Layout(elementType: .bf16, groups: [group])
      #expect(try client.exchange(.layout(LayoutRequest(layout: layout))).status == .ok)
      let part = Part(firstLayer: 0, layerCount: 24, firstKVHead: 0, kvHeadCount: 8)
      let geometry = LayoutGeometry(layout)
      let size = try geometry.byteCount(of: part, tokens: 16)
      let root = try HashChain.root(model: "test")
      let hash = try HashChain.hashes(root: root, tokens: Array(0..<16), chunkTokens: 16)[0]
      let key = ObjectKey(hash: hash, layout: layout.id, part: part)
      let content = bytes(size, seed: 9)
      let source = try Room(content, client)
      let id = client.newID()
      let facts = PutBeginRequest(key: key, totalBytes: size, tokenCount: 16)
      try client.ask(.putBegin(facts), id: id)
      try client.send([source.remote()], transfer: id)
      let commit = PutCommitRequest(transferID: id, checksum: Checksum(of: content))
      #expect(try client.exchange(.putCommit(commit)).status == .ok)

      let wanted = Part(firstLayer: 2, layerCount: 21, firstKVHead: 3, kvHeadCount: 4)
      let expected = try geometry.ranges(of: wanted, in: part, tokens: 16).flatMap { content[$0] }
      let room = try Room(expected.count, client)
      let item = GetRequest.Item(key: key, selection: .part(wanted))
      let found = try client.fetch([item], into: [room.remote()])
      #expect(found[0].sentChecksum == Checksum(of: expected))
      #expect(room.holds(expected))
    }

    @Test("come in batches, with misses between them and what has no room only told of")
    func batch() throws {
      let server = try makeServer()
      let client = try connect(server)
      let contents = (0..<40).map { bytes(1 + $0 * 5003, seed: UInt8($0)) }
      for (index, content) in contents.enumerated() { try store("\(index)", content, client) }
      let rooms = try contents.map { try Room($0.count, client) }
      var items = contents.indices.map { item("\($0)") }
      var regions = try rooms.map { try $0.remote() }
      items[5] = item("never stored")
      // One byte less than it has, and none at all.
      regions[11] = try rooms[11].remote(0..<contents[11].count - 1)
      regions[12] = try rooms[12].remote(0..<0)
      let found = try client.fetch(items, into: regions)
      for index in contents.indices where index != 5 {
        #expect(found[index].sentBytes == contents[index].count)
        #expect(found[index].sentChecksum == Checksum(of: contents[index]))
        guard index != 11, index != 12 else { continue }
        #expect(rooms[index].holds(contents[index]))
      }
      #expect(found[5].miss == .neverStored)
      #expect([5, 11, 12].allSatisfy { rooms[$0].isUntouched() })
    }

    @Test("may be inline on the same connection, and those bytes are counted as copied")
    func inline() throws {
      let server = try makeServer()
      let client = try connect(server)
      let content = bytes(700_001, seed: 5)
      let id = client.newID()
      try client.ask(.putBegin(PutBeginRequest(key: key("x"), totalBytes: content.count)), id: id)
      try client.ask(
        .putData(PutDataRequest(transferID: id, offset: 0)), id: id, payload: content)
      let commit = PutCommitRequest(transferID: id, checksum: Checksum(of: content))
      #expect(try client.exchange(.putCommit(commit)).status == .ok)
      let frame = try client.exchange(.get(GetRequest(items: [item("x")])))
      #expect(frame.status == .ok && frame.payload == content)
      #expect(try report(server).copiedBytesTotal == UInt64(2 * content.count))
      try expect("x", content, client)
      #expect(try report(server).copiedBytesTotal == UInt64(2 * content.count))
    }

    @Test("reach four clients at once, each its own bytes")
    func concurrently() throws {
      let server = try makeServer(["ram": ["160MiB"]])
      let failures = Guarded<[String]>([])
      DispatchQueue.concurrentPerform(iterations: 4) { number in
        do {
          let client = try connect(server)
          for round in 0..<4 {
            let size = 1_500_000 + 700_001 * number + round
            let content = bytes(size, seed: UInt8(number * 8 + round))
            try store("\(number).\(round)", content, client)
            try expect("\(number).\(round)", content, client)
          }
        } catch {
          failures.withLock { $0.append("client \(number): \(error)") }
        }
      }
      #expect(failures.withLock { $0 } == [])
      #expect(try report(server).copiedBytesTotal == 0)
    }
  }
}
