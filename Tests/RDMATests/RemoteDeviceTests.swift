import Foundation
import KDNClient
import KDNCore
import KDNTransport
import KDNWire
import Logging
import TestPrograms
import Testing

@testable import KDNServer

extension OverFabric {
  @Suite("Devices")
  struct RemoteDeviceTests: FabricTesting {
    /// A second device beside the one that all other tests use.
    private final class Spare {
      let address = "10.78.0.1"

      init() throws {
        try #require(
          Self.run(
            "ip link add kdn1 type dummy && ip link set kdn1 mtu 9000 && "
              + "ip addr add 10.78.0.1/24 dev kdn1 && ip link set kdn1 up && "
              + "rdma link add rxe_kdn1 type rxe netdev kdn1") == 0)
      }

      deinit { _ = try? Self.run("rdma link del rxe_kdn1; ip link del kdn1") }

      /// Begins to take the device away; the kernel waits until nobody holds anything of it.
      func remove() throws -> Program {
        try Self.start("rdma link del rxe_kdn1")
      }

      private static func start(_ command: String) throws -> Program {
        try Program(["sh", "-c", command])
      }

      private static func run(_ command: String) throws -> Int32 {
        try start(command).wait()
      }
    }

    private func connectTCP(_ server: Server) throws -> Client {
      let endpoint = try #require(server.listeners.first { $0.kind == .tcp }?.endpoint)
      return Client(
        try Connection(endpoint, namespace: NamespaceName("default"), token: FabricClient.token))
    }

    @Test("that are removed in the midst of transfers end those; all else is served on")
    func removed() throws {
      let spare = try Spare()
      let log = FabricLog()
      let server = try makeServer(["rdma": ["\(spare.address):0"]], log: log.logger)
      let content = bytes(16 << 20, seed: 3)
      let before: Int
      let removal: Program
      do {
        let client = try connect(server)
        try store("kept", content, client)
        before = allocatedBytes(server)
        let room = try Room(content, client)
        let id = client.newID()
        try client.ask(
          .putBegin(PutBeginRequest(key: key("new"), totalBytes: content.count)), id: id)
        try client.send([room.remote()], transfer: id)
        let target = try Room(content.count, client)
        let get = GetRequest(items: [item("kept")], place: .remote([try target.remote()]))
        try client.ask(.get(get), id: client.newID())
        removal = try spare.remove()
        #expect(client.isLostSoon())
      }
      eventually("the kernel lets the device go") { !removal.isRunning }
      #expect(removal.wait() == 0)
      try eventually("its connections are over") { try report(server).open == 0 }
      eventually("all memory is given back") { allocatedBytes(server) == before }
      #expect(log.messages.filter { $0.contains("device was removed") }.count == 1)
      let client = try connectTCP(server)
      let (result, found) = try client.get(key("kept"), capacity: content.count)
      #expect(result.miss == nil && found == content)
    }

    @Test("that are not there are said to be missing once, and all else is served")
    func absent() throws {
      let log = FabricLog()
      let server = try makeServer(
        ["rdma": ["127.0.0.1:0", "\(address):0"]], log: log.logger)
      #expect(server.listeners.filter { $0.kind == .rdma }.count == 1, "the other address works")
      #expect(log.messages.filter { $0.contains("RDMA is not served") }.count == 1)
      let content = bytes(10_000, seed: 3)
      let client = try connect(server)
      try store("kept", content, client)
      let (_, found) = try connectTCP(server).get(key("kept"), capacity: content.count)
      #expect(found == content)
    }

    @Test("are all told of where the daemon listens on every address")
    func wildcard() throws {
      let server = try makeServer(["rdma": ["0.0.0.0:0"]])
      let offered = server.listeners.filter { $0.kind == .rdma }.map(\.endpoint)
      guard case .tcp(address, _)? = offered.first else {
        Issue.record("\(offered)")
        return
      }
      let content = bytes(100_000, seed: 3)
      try store("kept", content, connect(server))
      try expect("kept", content, connect(server))
    }
  }
}

/// Remembers what is logged.
final class FabricLog: Sendable {
  private let kept = Guarded<[String]>([])

  var messages: [String] { kept.withLock { $0 } }
  var logger: Logger { Logger(label: "test") { [self] _ in Handler(log: self) } }

  private struct Handler: LogHandler {
    let log: FabricLog
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let message = event.message.description
      log.kept.withLock { $0.append(message) }
    }
  }
}
