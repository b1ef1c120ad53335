import Foundation
import KDNCore
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

extension OverFabric {
  @Suite("Many connections")
  struct RemoteCrowdTests: FabricTesting {
    /// Makes what the first connection makes for good: the device's context, the shared receives,
    /// and registrations of all slabs that the test uses.
    private func warm(_ server: Server, _ content: [UInt8]) throws {
      let client = try connect(server)
      try store("kept", content, client)
      try expect("kept", content, client)
      client.endpoint.close()
      try eventually("the first connection is over") { try report(server).open == 0 }
    }

    private func expectHoldings(_ before: FabricHoldings) throws {
      try eventually("nothing is left behind") { try FabricHoldings().addNothing(to: before) }
      let after = try FabricHoldings()
      #expect(after.addNothing(to: before), "\(after) are held, \(before) were")
    }

    @Test("of which 1,000 are open at once are all served, and leave nothing behind")
    func atOnce() throws {
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      limit.rlim_cur = limit.rlim_max
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let server = try makeServer(["ram": ["1GiB"]])
      let content = bytes(100_000, seed: 9)
      try warm(server, content)
      let before = try FabricHoldings()
      do {
        var clients: [FabricClient] = []
        for _ in 0..<1000 {
          clients.append(try connect(server, sharing: clients.first?.endpoint.context))
        }
        #expect(try report(server).open == 1000)
        #expect(try FabricHoldings()["qp"] == before["qp"] + 2000)
        for client in clients {
          #expect(try client.exchange(.exists(KeysRequest(keys: [key("kept")]))).status == .ok)
        }
        for client in clients.suffix(20) { try expect("kept", content, client) }
        for client in clients { client.endpoint.close() }
      }
      try eventually("all connections are over") { try report(server).open == 0 }
      try expectHoldings(before)
    }

    @Test("of which 1,000 come and go, some in the midst of a transfer, leave nothing behind")
    func oneByOne() throws {
      let server = try makeServer()
      let content = bytes(300_000, seed: 9)
      try warm(server, content)
      let before = try FabricHoldings()
      let allocated = allocatedBytes(server)
      for number in 0..<1000 {
        let client = try FabricClient(silent: fabric(server))
        guard number % 8 > 0 else { continue }
        guard try client.hello().status == .ok else { throw FabricClient.Lost(fault: nil) }
        guard number % 8 > 1 else { continue }
        let room = try Room(content.count, client)
        let key = key(number % 8 == 2 ? "new" : "kept")
        if number % 8 < 4 {
          let id = client.newID()
          try client.ask(
            .putBegin(PutBeginRequest(key: key, totalBytes: content.count)), id: id)
          try client.send([room.remote()], transfer: id)
        } else {
          let get = GetRequest(
            items: [GetRequest.Item(key: key)], place: .remote([try room.remote()]))
          try client.ask(.get(get), id: client.newID())
        }
        if number % 8 > 5 { _ = try client.receive() }
        // The client goes first: what it had registered is gone while the server works.
        client.endpoint.close()
      }
      try eventually("all connections are over") { try report(server).open == 0 }
      eventually("all memory is given back") { allocatedBytes(server) == allocated }
      try expectHoldings(before)
      try expect("kept", content, connect(server))
    }

    @Test("of which one asks much and reads nothing are served all the same, and that one is ended")
    func unread() throws {
      let server = try makeServer(["credit": ["1MiB"], "write_stall_ms": ["1000"]])
      let content = bytes(300_000, seed: 9)
      let bystander = try connect(server)
      try store("kept", content, bystander)
      let client = try connect(server)
      let request = GetRequest(items: [item("kept")])
      for _ in 0..<64 { try client.ask(.get(request), id: client.newID()) }
      try expect("kept", content, bystander)
      try eventually("who takes nothing is ended") { try report(server).open == 1 }
      try expect("kept", content, bystander)
      #expect(client.isLostSoon())
    }

    @Test(
      "of which some are killed in the midst of a transfer cost nobody else anything",
      arguments: ["get", "put"])
    func killed(verb: String) async throws {
      let server = try makeServer()
      let bystander = try connect(server)
      let content = bytes(8 << 20, seed: 12)
      try store("kept", content, bystander)
      let before = allocatedBytes(server)
      setenv("KDN_TEST_FABRIC_ENDPOINT", "\(try fabric(server))", 1)
      setenv("KDN_TEST_FABRIC_VERB", verb, 1)
      await #expect(processExitsWith: .exitCode(9)) {
        let environment = ProcessInfo.processInfo.environment
        let text = environment["KDN_TEST_FABRIC_ENDPOINT"] ?? ""
        let endpoint = try Endpoint(parsingTCP: text, field: "endpoint")
        let client = try FabricClient(endpoint)
        let room = try Room(8 << 20, client)
        let id = client.newID()
        if environment["KDN_TEST_FABRIC_VERB"] == "put" {
          let key = ObjectKey(opaque: HashChain.opaque([1]))
          try client.ask(
            .putBegin(PutBeginRequest(key: key, totalBytes: room.bytes.count)), id: id)
          _ = try client.answer(to: id)
          try client.send([room.remote()], transfer: id)
        } else {
          let key = ObjectKey(opaque: HashChain.opaque(Array("kept".utf8)))
          let item = GetRequest.Item(key: key)
          try client.ask(.get(GetRequest(items: [item], place: .remote([room.remote()]))), id: id)
          while room.isUntouched(0..<64) {}
        }
        _exit(9)
      }
      try eventually("the connection is over") { try report(server).open == 1 }
      #expect(try report(server).acceptedTotal == 2, "it was there")
      eventually("all memory is given back") { allocatedBytes(server) == before }
      try expect("kept", content, bystander)
    }
  }
}
