import KDNCore
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

extension OverFabric {
  @Suite("Clients that lie or break")
  struct RemoteFaultTests: FabricTesting {
    /// What a client does wrong; each costs it its connection, and nobody else anything.
    enum Fault: CaseIterable {
      case wrongKeyForGet, wrongKeyForPut, noRightToWrite, noRightToRead
      case regionTooSmallForGet, regionTooSmallForPut
      case revokedDuringGet, revokedDuringPut
      case closedDuringGet, closedDuringPut
      case reachesForServer
    }

    @Test("lose their connection and cost nobody else anything", arguments: Fault.allCases)
    func fault(_ fault: Fault) throws {
      let server = try makeServer()
      let bystander = try connect(server)
      let content = bytes(8 << 20, seed: 11)
      try store("kept", content, bystander)
      let before = allocatedBytes(server)
      do {
        let client = try connect(server)
        let room = try Room(content.count, client, access: Self.access(of: fault))
        try commit(fault, room, client)
        #expect(client.isLost(), "the server cannot go on with it")
      }
      eventually("all memory is given back") { allocatedBytes(server) == before }
      try eventually("the connection is over") { try report(server).open == 1 }
      try expect("kept", content, bystander)
      try expect("kept", content, connect(server))
      #expect(server.context.pool.statistics.reservations == 0)
    }

    private static func access(of fault: Fault) -> RDMAAccess {
      switch fault {
      case .noRightToWrite: .remoteRead
      case .noRightToRead: .remoteWrite
      default: [.remoteRead, .remoteWrite]
      }
    }

    private func commit(_ fault: Fault, _ room: Room, _ client: FabricClient) throws {
      let region = try room.remote()
      let wrong = RemoteRegion(
        address: region.address, key: region.key ^ 0x5A5A, byteCount: region.byteCount)
      let shifted = RemoteRegion(
        address: region.address + 4097, key: region.key, byteCount: region.byteCount)
      switch fault {
      case .wrongKeyForGet: try get(wrong, client)
      case .noRightToWrite: try get(region, client)
      case .regionTooSmallForGet: try get(shifted, client)
      case .wrongKeyForPut: try put(wrong, client)
      case .noRightToRead: try put(region, client)
      case .regionTooSmallForPut: try put(shifted, client)
      case .revokedDuringGet:
        try get(region, client)
        try begun(room)
        room.revoke()
      case .revokedDuringPut:
        try put(region, client)
        room.revoke()
      case .closedDuringGet:
        try get(region, client)
        try begun(room)
        client.endpoint.close()
      case .closedDuringPut:
        try put(region, client)
        client.endpoint.close()
      case .reachesForServer:
        let piece = RDMAPiece(
          of: try RDMARegion(room.bytes, access: [], in: client.endpoint.context),
          address: region.address, byteCount: 4096)
        #expect(
          client.endpoint.write(
            [piece], toAddress: 0x7000_0000_0000, key: 0x1234, token: 1, keeping: nil))
        _ = client.endpoint.poll()
      }
    }

    private func get(_ region: RemoteRegion, _ client: FabricClient) throws {
      try client.ask(
        .get(GetRequest(items: [item("kept")], place: .remote([region]))), id: client.newID())
    }

    /// Begins a store of all of `region`, whose COMMIT is never answered.
    private func put(_ region: RemoteRegion, _ client: FabricClient) throws {
      let id = client.newID()
      try client.ask(
        .putBegin(PutBeginRequest(key: key("new"), totalBytes: region.byteCount)), id: id)
      #expect(try client.answer(to: id).status == .ok)
      try client.send([region], transfer: id)
    }

    /// Waits until the server has begun to write.
    private func begun(_ room: Room) throws {
      eventually("the first byte is written") { !room.isUntouched(0..<64) }
    }

    @Test("hear of lengths that do not fit at COMMIT, and can go on")
    func lengths() throws {
      let server = try makeServer()
      let client = try connect(server)
      let content = bytes(100_000, seed: 2)
      let room = try Room(content, client)
      let before = allocatedBytes(server)
      let sum = Checksum(of: content)
      let all = try room.remote()
      let cases: [(name: String, regions: [RemoteRegion], total: Int, checksum: Checksum, Status)] =
        [
          ("too few", [try room.remote(0..<99_999)], 100_000, sum, .badRequest),
          ("too many", [all], 99_999, sum, .badRequest),
          ("too many later", [all, try room.remote(0..<1)], 100_000, sum, .badRequest),
          ("other bytes", [all], 100_000, Checksum(sum.value ^ 1), .checksumMismatch),
          (
            "around the end", [RemoteRegion(address: .max - 10, key: all.key, byteCount: 100_000)],
            100_000, sum, .badRequest
          ),
        ]
      for (name, regions, total, checksum, status) in cases {
        let answer = try client.store(
          key(name), regions, checksum: checksum, byteCount: total)
        #expect(answer.status == status, "\(name)")
      }
      eventually("all memory is given back") { allocatedBytes(server) == before }
      try store("right", content, client)
      try expect("right", content, client)
    }

    @Test("hear of gaps, and of bytes that come inline behind those that were read")
    func order() throws {
      let server = try makeServer()
      let client = try connect(server)
      let content = bytes(50_000, seed: 2)
      let room = try Room(content, client)
      for isInline in [false, true] {
        let id = client.newID()
        try client.ask(.putBegin(PutBeginRequest(key: key("k"), totalBytes: 50_000)), id: id)
        try client.send([room.remote(0..<20_000)], transfer: id)
        if isInline {
          let data = PutDataRequest(transferID: id, offset: 20_000)
          try client.ask(.putData(data), id: id, payload: Array(content[20_000...]))
        } else {
          try client.send([room.remote(20_000..<50_000)], transfer: id, offset: 20_001)
        }
        let commit = PutCommitRequest(transferID: id, checksum: Checksum(of: content))
        let answer = try client.exchange(.putCommit(commit))
        #expect(answer.status == .badRequest)
        #expect(try answer.error().field == (isInline ? "place" : "offset"))
      }
      try store("k", content, client)
      try expect("k", content, client)
    }

    @Test("hear of regions and places that cannot be, and can go on")
    func places() throws {
      let server = try makeServer()
      let client = try connect(server)
      let content = bytes(5000, seed: 4)
      try store("object", content, client)
      let wrapped = RemoteRegion(address: .max - 100, key: 1, byteCount: 5000)
      let around = try client.exchange(
        .get(GetRequest(items: [item("object")], place: .remote([wrapped]))))
      #expect(around.status == .badRequest)
      let shared = try client.exchange(
        .get(GetRequest(items: [item("object")], place: .sharedMemory(leaseMilliseconds: 0))))
      #expect(shared.status == .unsupported)
      try expect("object", content, client)
    }

    @Test("do not know this protocol's greeting, and are cut off when they send no frame")
    func noFrames() throws {
      let server = try makeServer()
      let bystander = try connect(server)
      let client = try FabricClient(silent: fabric(server))
      client.endpoint.send([UInt8](repeating: 0x55, count: 300_000))
      _ = client.endpoint.poll()
      let frame = try client.receive()
      #expect(frame.header.operation == .goAway && frame.status == .badRequest)
      #expect(client.isLost())
      try expect("x", stored("x", bystander), bystander)
    }

    private func stored(_ name: String, _ client: FabricClient) throws -> [UInt8] {
      let content = bytes(10_000, seed: 1)
      try store(name, content, client)
      return content
    }
  }
}
