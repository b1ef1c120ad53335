import Foundation
import KDNClient
import KDNCore
import KDNMemory
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

/// A server with a Unix socket, and raw clients that share memory with it.
final class SharedMemoryFixture: ServerTesting {
  let path: String
  let server: Server

  init(_ flags: [String: [String]] = [:]) throws {
    path =
      FileManager.default.temporaryDirectory
      .appending(path: "kdn-\(UUID().uuidString.prefix(13)).sock").path
    let own = ["unix": [path]]
    server = try Self.makeServer(own.merging(flags) { _, new in new })
  }

  private static func makeServer(_ flags: [String: [String]]) throws -> Server {
    struct Maker: ServerTesting {}
    return try Maker().makeServer(flags)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// A client on the Unix socket that has said HELLO.
  func client() throws -> RawClient { try RawClient(.unix(path: path)) }

  /// A client on the Unix socket that has said nothing.
  func silentClient() throws -> RawClient { try RawClient(silent: .unix(path: path)) }

  /// A client over TCP, for storing and looking.
  func viewer() throws -> Client { try connect(server) }

  /// What HELLO answers on the Unix socket.
  func hello() throws -> HelloResponse {
    let frame = try silentClient().hello()
    var reader = ByteReader(frame.body)
    return try HelloResponse(from: &reader)
  }

  /// Stores an object over TCP.
  func store(_ name: String, _ bytes: [UInt8]) throws -> ObjectKey {
    let viewer = try viewer()
    let facts = PutBeginRequest(key: opaque(name), totalBytes: bytes.count)
    _ = try viewer.put(facts, bytes: bytes)
    return opaque(name)
  }

  /// The numbers of one kind of link.
  func link(_ kind: LinkKind) -> (sent: Int, copied: Int, hashed: Int, open: Int)? {
    server.context.links.reports.first { $0.kind == kind.rawValue }.map {
      (Int($0.sentBytesTotal), Int($0.copiedBytesTotal), Int($0.hashedBytesTotal), $0.open)
    }
  }

  /// What of memory is shared now.
  var shared: (leases: Int, leasedBytes: Int, windowBytes: Int, charged: Int) {
    let report = server.context.sharedMemory.report
    return (
      report.leases, report.leasedBytes, report.windowBytes,
      server.context.pool.statistics.bufferBytes
    )
  }
}

extension RawClient {
  /// GET in place of whole objects, or of `selections`.
  func lend(
    _ items: [GetRequest.Item], id: UInt64, milliseconds: UInt32 = 0,
    flags: GetRequest.Flags = []
  ) throws -> GetResponse {
    let place = GetPlace.sharedMemory(leaseMilliseconds: milliseconds)
    let frame = try exchange(.get(GetRequest(items: items, flags: flags, place: place)), id: id)
    guard frame.status == .ok else { throw Refused(status: frame.status, body: try frame.error()) }
    #expect(frame.header.place == PayloadPlace.sharedMemory.rawValue)
    #expect(frame.header.payloadLength == 0)
    var reader = ByteReader(frame.body)
    return try GetResponse(from: &reader, count: items.count, place: .sharedMemory)
  }

  /// An answer that is no answer.
  struct Refused: Error {
    let status: Status?
    let body: ErrorBody
  }

  /// Has a slab mapped.
  func map(_ slabID: UInt64, id: UInt64) throws -> SharedView {
    let frame = try exchange(.mapSlab(MapSlabRequest(slabID: slabID)), id: id)
    guard frame.status == .ok else { throw Refused(status: frame.status, body: try frame.error()) }
    var reader = ByteReader(frame.body)
    let answer = try MapSlabResponse(from: &reader)
    let descriptor = try #require(nextDescriptor())
    return try SharedView(mapping: descriptor, byteCount: answer.byteCount, writable: false)
  }

  /// Opens the window.
  func window(_ byteCount: Int, id: UInt64) throws -> SharedView {
    let frame = try exchange(.openWindow(OpenWindowRequest(byteCount: byteCount)), id: id)
    guard frame.status == .ok else { throw Refused(status: frame.status, body: try frame.error()) }
    var reader = ByteReader(frame.body)
    let answer = try OpenWindowResponse(from: &reader)
    let descriptor = try #require(nextDescriptor())
    return try SharedView(mapping: descriptor, byteCount: answer.byteCount, writable: true)
  }

  /// The status of the answer to `request`.
  func status(_ request: Request, id: UInt64) throws -> Status? {
    try exchange(request, id: id).status
  }

  /// Everything before has been done when this returns.
  func ping(id: UInt64) throws {
    let answer = try exchange(.exists(KeysRequest(keys: [])), id: id)
    guard answer.status == .ok else { throw Broken() }
  }
}

extension SharedView {
  /// The bytes of some extents, one after the other.
  func read(_ extents: [Range<Int>]) -> [UInt8] {
    extents.flatMap { Array(bytes[$0]) }
  }
}
