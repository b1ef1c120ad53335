import Foundation
import KDNClient
import KDNCore
import KDNWire
import Logging

@testable import KDNServer

/// What tests of a server in this process need to speak to it.
protocol ServerTesting {}

extension ServerTesting {
  /// The configuration of a small server on a port of its own.
  func makeConfiguration(_ flags: [String: [String]] = [:]) throws -> ServerConfiguration {
    let small = [
      "tcp": ["127.0.0.1:0"], "ram": ["64MiB"], "slab": ["4MiB"], "prefault": ["off"],
      "lock_memory": ["off"], "loops": ["2"], "log_level": ["critical"],
    ]
    return try ServerConfiguration(flags: small.merging(flags) { _, new in new })
  }

  /// A small server on a port of its own.
  func makeServer(_ flags: [String: [String]] = [:]) throws -> Server {
    try Server(makeConfiguration(flags), log: .silent)
  }

  func connect(_ server: Server) throws -> Client {
    Client(try Connection(server.endpoints[0], namespace: NamespaceName("default")))
  }

  func opaque(_ name: String) -> ObjectKey {
    ObjectKey(opaque: HashChain.opaque(Array(name.utf8)))
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

  /// One part of STATS; nil if it is not there.
  func part(_ client: Client, _ part: String) throws -> [String: Any]? {
    let text = try client.stats()
    let all = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
    return all?[part] as? [String: Any]
  }

  /// One part of STATS.
  func numbers(_ client: Client, _ name: String) throws -> [String: Any] {
    guard let numbers = try part(client, name) else { throw MissingPart(name: name) }
    return numbers
  }

  func failure(_ body: () throws -> Void) -> ClientError? {
    do {
      try body()
      return nil
    } catch {
      return error as? ClientError
    }
  }

  func status(of error: ClientError?) -> Status? {
    switch error {
    case .refused(let status, _), .goAway(let status, _): status
    default: nil
    }
  }
}

/// STATS lacks a part.
struct MissingPart: Error {
  let name: String
}

extension Logger {
  /// Writes nothing.
  static var silent: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}
