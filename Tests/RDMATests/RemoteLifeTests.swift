import Foundation
import KDNCore
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

extension OverFabric {
  @Suite("The life of one-sided operations")
  struct RemoteLifeTests: FabricTesting {
    private static let size = 24 << 20

    /// Begins a store whose bytes take a while to be read.
    private func begin(_ room: Room, _ client: FabricClient) throws -> UInt64 {
      let id = client.newID()
      try client.ask(
        .putBegin(PutBeginRequest(key: key("slow"), totalBytes: room.bytes.count)), id: id)
      try client.send([room.remote()], transfer: id)
      return id
    }

    @Test("COMMIT is refused when its deadline comes before the bytes; the room stays until then")
    func deadline() throws {
      let server = try makeServer()
      let client = try connect(server)
      let before = allocatedBytes(server)
      let room = try Room(bytes(Self.size, seed: 1), client)
      client.isHolding = true
      let id = try begin(room, client)
      let commit = PutCommitRequest(transferID: id, checksum: Checksum(0))
      let commitID = client.newID()
      try client.ask(.putCommit(commit), id: commitID, deadlineMilliseconds: 1)
      client.release()
      #expect(try client.answer(to: commitID).status == .deadline)
      eventually("all memory is given back") { allocatedBytes(server) == before }
      try store("slow", room.content, client)
      try expect("slow", room.content, client)
    }

    @Test("ABORT is answered at once, and the room goes back when the last READ is over")
    func abort() throws {
      let server = try makeServer()
      let client = try connect(server)
      let before = allocatedBytes(server)
      let room = try Room(bytes(Self.size, seed: 2), client)
      let id = try begin(room, client)
      #expect(try client.answer(to: id).status == .ok)
      #expect(allocatedBytes(server) > before)
      #expect(
        try client.exchange(.putAbort(PutAbortRequest(transferID: id))).status == .ok)
      let late = PutCommitRequest(transferID: id, checksum: Checksum(0))
      #expect(try client.exchange(.putCommit(late)).status == .notFound)
      eventually("all memory is given back") { allocatedBytes(server) == before }
      try store("slow", room.content, client)
    }

    @Test("a COMMIT that waits for bytes is refused when its transfer is aborted")
    func abortBehindCommit() throws {
      let server = try makeServer()
      let client = try connect(server)
      let before = allocatedBytes(server)
      let room = try Room(bytes(Self.size, seed: 2), client)
      client.isHolding = true
      let id = try begin(room, client)
      let ids = [client.newID(), client.newID(), client.newID()]
      let commit = PutCommitRequest(transferID: id, checksum: Checksum(0))
      try client.ask(.putCommit(commit), id: ids[0])
      try client.ask(.putCommit(commit), id: ids[1])
      try client.ask(.putAbort(PutAbortRequest(transferID: id)), id: ids[2])
      client.release()
      #expect(try client.answer(to: ids[1]).status == .outOfSequence)
      #expect(try client.answer(to: ids[2]).status == .ok)
      #expect(try client.answer(to: ids[0]).status == .notFound)
      eventually("all memory is given back") { allocatedBytes(server) == before }
    }

    @Test("a WRITE brings the right bytes though its object is purged and its lease ends meanwhile")
    func purged() throws {
      let server = try makeServer()
      let client = try connect(server)
      let group = LayoutGroup(kind: .opaque(bytesPerToken: UInt32(Self.size / 16)), layers: [0])
      let layout = try Layout(elementType: .i8, groups: [group])
      #expect(try client.exchange(.layout(LayoutRequest(layout: layout))).status == .ok)
      let part = Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1)
      let hash = HashChain.opaque([1])
      let key = ObjectKey(hash: hash, layout: layout.id, part: part)
      let before = allocatedBytes(server)
      let content = bytes(Self.size, seed: 6)
      let source = try Room(content, client)
      let id = client.newID()
      try client.ask(
        .putBegin(PutBeginRequest(key: key, totalBytes: Self.size, tokenCount: 16)), id: id)
      try client.send([source.remote()], transfer: id)
      let commit = PutCommitRequest(transferID: id, checksum: Checksum(of: content))
      #expect(try client.exchange(.putCommit(commit)).status == .ok)

      let match = MatchRequest(
        hashes: [hash], parts: [part], layout: layout.id, leaseMilliseconds: 1)
      #expect(try client.exchange(.match(match)).status == .ok)
      let room = try Room(Self.size, client)
      let getID = client.newID()
      let get = GetRequest(
        items: [GetRequest.Item(key: key)], place: .remote([try room.remote()]))
      try client.ask(.get(get), id: getID)
      let purge = try client.exchange(.purge(PurgeRequest(scope: .namespace)))
      #expect(purge.status == .ok)
      #expect(try client.answer(to: getID).status == .ok)
      #expect(room.holds(content), "what is being written is not reused")
      eventually("all memory is given back") { allocatedBytes(server) == before }
      #expect(server.context.pool.statistics.leases == 0)
    }

    @Test("a drain answers what is under way, tells every client, and ends")
    func drains() throws {
      let server = try makeServer()
      let client = try connect(server)
      let room = try Room(bytes(Self.size, seed: 3), client)
      let id = try begin(room, client)
      #expect(try client.answer(to: id).status == .ok)
      let isEmpty = Guarded<Bool?>(nil)
      server.drain { answer in isEmpty.withLock { $0 = answer } }
      var frame = try client.receive()
      #expect(frame.header.operation == .goAway && frame.status == .draining)
      let commitID = client.newID()
      let commit = PutCommitRequest(transferID: id, checksum: Checksum(of: room.content))
      try client.ask(.putCommit(commit), id: commitID)
      frame = try client.answer(to: commitID)
      #expect(frame.status == .ok, "an open transfer may be finished")
      #expect(client.isLost())
      eventually("the drain ends") { isEmpty.withLock { $0 } != nil }
      #expect(isEmpty.withLock { $0 } == true)
      #expect(throws: (any Error).self) { try FabricClient(silent: fabric(server)) }
    }

    @Test("connections above the cap are told so")
    func cap() throws {
      let server = try makeServer(["max_connections": ["2"]])
      let first = try connect(server)
      let second = try connect(server)
      let third = try FabricClient(silent: fabric(server))
      #expect(try third.receive().status == .tooManyConnections)
      #expect(third.isLost())
      second.endpoint.close()
      try eventually("there is room again") { try report(server).open == 1 }
      let content = bytes(10_000, seed: 3)
      try store("x", content, first)
      try expect("x", content, connect(server))
    }

    @Test("a token does not pass over a fabric that is not trusted, a ticket does, once")
    func tickets() throws {
      let server = try makeServer(["rdma_trusted": ["no"]])
      let refused = try FabricClient(silent: fabric(server))
      #expect(try refused.hello().status == .unauthorised)
      #expect(refused.isLost())
      let tcp = try #require(server.listeners.first { $0.kind == .tcp }?.endpoint)
      let answer = try ticket(from: tcp)
      let place = "\(try fabric(server))"
      #expect(answer.offers.contains { $0.kind == .rdma && $0.address == place })
      for isFirst in [true, false] {
        let client = try FabricClient(silent: fabric(server))
        let hello = HelloRequest(namespace: try NamespaceName("default"), ticket: answer.ticket)
        try client.ask(.hello(hello), id: 1)
        #expect(try client.receive().status == (isFirst ? .ok : .unauthorised))
        guard isFirst else { continue }
        let content = bytes(70_000, seed: 8)
        try store("x", content, client)
        try expect("x", content, client)
      }
    }
  }
}
