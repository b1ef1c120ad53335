import Foundation
import KDNClient
import KDNControl
import KDNCore
import KDNWire
import Logging

@testable import KDNServer

/// A server with a configuration file of its own, and what its audit log says.
final class ControlFixture: ServerTesting {
  let record = RecordingLog()
  let threshold = LogThreshold(.critical)
  let who = AdministratorName("ops", from: "127.0.0.1:5000")
  let layout: Layout
  private let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: "kdn-\(UUID().uuidString)").path
    let group = LayoutGroup(kind: .opaque(bytesPerToken: 64), layers: [0])
    layout = try Layout(elementType: .i8, groups: [group])
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Where the tenants that orders add are kept.
  var namespacesFile: String { "\(path)/namespaces.json" }

  /// The SHA-256 of a token in hexadecimal.
  func sha256(_ token: String) -> String { "\(HashChain.opaque(Array(token.utf8)))" }

  /// Replaces the configuration file.
  func configure(_ yaml: String) throws {
    try Data(yaml.utf8).write(to: URL(fileURLWithPath: "\(path)/kdnd.yaml"))
    try FileManager.default.setAttributes(
      [.posixPermissions: 0o600], ofItemAtPath: "\(path)/kdnd.yaml")
  }

  /// Starts a small server that reads `yaml` anew when it reloads.
  func start(_ yaml: String = "", _ flags: [String: [String]] = [:]) throws -> Server {
    try configure(yaml)
    let small = [
      "tcp": ["127.0.0.1:0"], "ram": ["64MiB"], "slab": ["4MiB"], "prefault": ["off"],
      "lock_memory": ["off"], "loops": ["2"],
    ]
    let source = ConfigurationSource(
      flags: small.merging(flags) { _, new in new }, path: "\(path)/kdnd.yaml")
    var surroundings = Server.Surroundings()
    surroundings.source = source
    surroundings.threshold = threshold
    surroundings.audit = AuditLog(log: record.logger(AuditLog.label))
    return try Server(try source.read(), surroundings, log: .silent)
  }

  /// A client in a namespace.
  func enter(_ server: Server, _ namespace: String, token: String) throws -> Client {
    Client(
      try Connection(server.endpoints[0], namespace: NamespaceName(namespace), token: token))
  }

  /// Stores a chain of `count` chunks of one token each; the hashes, in order.
  func putChain(_ client: Client, _ count: Int, seed: UInt32 = 0) throws -> [ChunkHash] {
    _ = try client.register(layout)
    var parent = ChunkHash.none
    var hashes: [ChunkHash] = []
    for number in 0..<count {
      let hash = HashChain.next(after: parent, tokens: [seed, UInt32(number)])
      let facts = PutBeginRequest(
        key: key(hash), parent: parent, totalBytes: 64, firstToken: UInt32(number), tokenCount: 1)
      _ = try client.put(facts, bytes: bytes(64, seed: UInt8(truncatingIfNeeded: number)))
      hashes.append(hash)
      parent = hash
    }
    return hashes
  }

  /// The layout object of a chunk of `putChain`.
  func key(_ hash: ChunkHash) -> ObjectKey {
    ObjectKey(
      hash: hash, layout: layout.id,
      part: Part(firstLayer: 0, layerCount: 1, firstKVHead: 0, kvHeadCount: 1))
  }

  /// Stores an opaque object.
  func putOpaque(_ client: Client, _ name: String, size: Int = 100) throws -> ObjectKey {
    let key = opaque(name)
    _ = try client.put(PutBeginRequest(key: key, totalBytes: size), bytes: bytes(size, seed: 1))
    return key
  }

  /// Which of the keys are there.
  func present(_ client: Client, _ keys: [ObjectKey]) throws -> [Bool] {
    let found = try client.exists(keys)
    return keys.indices.map { found[$0] }
  }

  /// Why an order was refused; nil if it was not.
  func fault<Value: Sendable>(
    _ order: () async throws -> Value
  ) async -> ControlFault? {
    do {
      _ = try await order()
      return nil
    } catch {
      return error as? ControlFault
    }
  }

  /// What STATS tells a client.
  func statistics(_ client: Client) throws -> [String: Any] {
    let text = try client.stats()
    return try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any] ?? [:]
  }
}
