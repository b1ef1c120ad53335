import Foundation
import Glibc
import KDNCore
import KDNTransport
import KDNWire
import Logging
import Testing

@testable import KDNClient
@testable import KDNServer

@Suite("A client of a real server")
struct ServerLinkTests {
  /// A small server with a Unix socket, which shares memory, and a TCP port.
  private final class Fixture {
    let server: Server
    let path = "/tmp/kdn-links-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"

    init() throws {
      let configuration = try ServerConfiguration(flags: [
        "tcp": ["127.0.0.1:0"], "unix": [path], "ram": ["128MiB"], "slab": ["8MiB"],
        "prefault": ["off"], "lock_memory": ["off"], "loops": ["2"], "log_level": ["critical"],
      ])
      let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
      server = try Server(configuration, log: silent)
    }

    deinit { unlink(path) }

    func open(_ link: LinkChoice, overUnix: Bool = false) throws -> Connection {
      let tcp = server.endpoints.first { if case .tcp = $0 { true } else { false } }
      let address = try overUnix ? "unix://\(path)" : #require(tcp).description
      return try Connection.open(
        ServerAddress(parsing: address, field: "address"),
        namespace: NamespaceName("default"), link: link)
    }
  }

  private func key(_ name: String) -> ObjectKey {
    ObjectKey(opaque: HashChain.opaque(Array(name.utf8)))
  }

  /// Bytes of which no two pages are alike; joined from pieces, since tests are not optimised.
  private func long(_ count: Int) -> [UInt8] {
    let piece = pattern(4_093)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + piece.count)
    while bytes.count < count { bytes.append(contentsOf: piece) }
    bytes.removeLast(bytes.count - count)
    return bytes
  }

  @Test(
    "moves objects of all sizes, whole and in parts, on the link it asked for",
    arguments: [LinkChoice.tcp, .unix, .shm, .auto], [100, 16_385, 700_001, 9_000_003])
  func roundTrip(link: LinkChoice, count: Int) throws {
    let fixture = try Fixture()
    let client = Client(try fixture.open(link))
    let expected: ClientLink.Kind =
      switch link {
      case .tcp: .tcp
      case .unix: .unix
      case .shm, .auto, .rdma: .shm
      }
    #expect(client.connection.link.kind == expected)
    let bytes = long(count)
    let facts = PutBeginRequest(key: key("object"), totalBytes: count)
    #expect(try client.put(facts, bytes: bytes) == .published)
    #expect(try client.put(facts, bytes: bytes) == .present)
    #expect(try client.get(key("object"), capacity: count).bytes == bytes)
    let ranges = [count / 2..<count, 0..<count / 3]
    let item = GetRequest.Item(key: key("object"), selection: .ranges(ranges))
    let wanted = Array(bytes[ranges[0]]) + Array(bytes[ranges[1]])
    var found = [UInt8](repeating: 0, count: wanted.count)
    let results = try found.withUnsafeMutableBytes { try client.connection.get([item], into: [$0]) }
    #expect(
      results == [
        .hit(bytes: wanted.count, objectBytes: count, objectChecksum: Checksum(of: bytes))
      ])
    #expect(found == wanted)
    withExtendedLifetime(fixture) {}
  }

  @Test("reads objects in place, and they stay while others come and go", arguments: [true, false])
  func inPlace(verifies: Bool) throws {
    let fixture = try Fixture()
    let connection = try fixture.open(.auto, overUnix: true)
    connection.verifies = verifies
    let client = Client(connection)
    let bytes = long(1_000_003)
    _ = try client.put(PutBeginRequest(key: key("kept"), totalBytes: bytes.count), bytes: bytes)
    let items = [GetRequest.Item(key: key("kept")), GetRequest.Item(key: key("absent"))]
    let result = try connection.getInPlace(items)
    #expect(result.results[0].bytes == bytes.count)
    #expect(result.results[1] == .miss(.neverStored))
    let other = long(4_000_037)
    for number in 0..<40 {
      let facts = PutBeginRequest(key: key("other \(number)"), totalBytes: other.count)
      _ = try client.put(facts, bytes: other)
    }
    #expect(connection.holds(result))
    #expect(result.views(0).flatMap { Array($0) } == bytes)
    try connection.release(result)
    #expect(!connection.holds(result))
    withExtendedLifetime(fixture) {}
  }

  @Test("says why it does not share memory where it may not")
  func notOffered() throws {
    let fixture = try Fixture()
    let error = failure { try fixture.open(.rdma) }
    guard case .cannotConnect(let problem) = error else {
      Issue.record("connected")
      return
    }
    #expect(problem.contains("RDMA"))
    #expect(failure { try fixture.open(.tcp, overUnix: true) } != nil)
    #expect(try fixture.open(.unix, overUnix: true).link.kind == .unix)
  }
}
