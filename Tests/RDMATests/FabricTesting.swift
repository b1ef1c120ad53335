import Foundation
import KDNControl
import KDNCore
import KDNTransport
import KDNWire
import Logging
import Testing

@testable import KDNServer

/// What tests of a server over RDMA need; they run where a device is.
protocol FabricTesting {}

extension FabricTesting {
  /// The address of the device.
  var address: String { ProcessInfo.processInfo.environment["RDMA_ADDRESS"] ?? "10.77.0.1" }

  /// A small server on the device, which trusts the fabric.
  func makeServer(
    _ flags: [String: [String]] = [:],
    log: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  ) throws -> Server {
    let small = [
      "tcp": ["127.0.0.1:0"], "rdma": ["\(address):0"], "rdma_trusted": ["yes"],
      "ram": ["96MiB"], "slab": ["4MiB"], "prefault": ["off"], "lock_memory": ["off"],
      "namespaces": ["default:\(HashChain.opaque(Array(FabricClient.token.utf8)))"],
      "loops": ["2"], "log_level": ["critical"],
    ]
    let all = small.merging(flags) { _, new in new }
    return try Server(ServerConfiguration(flags: all), log: log)
  }

  /// Where the server listens for the fabric.
  func fabric(_ server: Server) throws -> Endpoint {
    try #require(server.listeners.first { $0.kind == .rdma }?.endpoint)
  }

  func connect(_ server: Server, sharing context: RDMAContext? = nil) throws -> FabricClient {
    try FabricClient(fabric(server), sharing: context)
  }

  func key(_ name: String) -> ObjectKey {
    ObjectKey(opaque: HashChain.opaque(Array(name.utf8)))
  }

  func item(_ name: String, _ selection: GetRequest.Selection = .whole) -> GetRequest.Item {
    GetRequest.Item(key: key(name), selection: selection)
  }

  /// Bytes of which no two pages are alike; joined from pieces, since tests are not optimised.
  func bytes(_ count: Int, seed: UInt8) -> [UInt8] {
    let piece = (0..<4093).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) &+ seed }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + piece.count)
    while bytes.count < count { bytes.append(contentsOf: piece) }
    bytes.removeLast(bytes.count - count)
    return bytes
  }

  /// Stores `content`, which must succeed.
  func store(_ name: String, _ content: [UInt8], _ client: FabricClient) throws {
    let room = try Room(content, client)
    let answer = try client.store(key(name), [room.remote()], checksum: Checksum(of: content))
    #expect(answer.status == .ok)
  }

  /// Fetches an object whose bytes must be `content`.
  func expect(_ name: String, _ content: [UInt8], _ client: FabricClient) throws {
    let room = try Room(content.count, client)
    let found = try client.fetch([item(name)], into: [room.remote()])
    #expect(found[0].miss == nil)
    #expect(found[0].sentChecksum == Checksum(of: content))
    #expect(room.holds(content))
  }

  /// Bytes of the arena that are handed out.
  func allocatedBytes(_ server: Server) -> Int {
    server.context.pool.statistics.arena.allocatedBytes
  }

  /// What the links of RDMA have done.
  func report(_ server: Server) throws -> LinkReport {
    try #require(server.context.links.reports.first { $0.kind == "rdma" })
  }

  /// Waits until something has come to pass on other threads; a test that waits in vain fails.
  func eventually(_ what: Comment, _ isSo: () throws -> Bool) rethrows {
    let end = SystemClock().now().advanced(milliseconds: FabricClient.patienceMilliseconds)
    while SystemClock().now() < end {
      if try isSo() { return }
      sched_yield()
    }
    Issue.record(what)
  }
}
