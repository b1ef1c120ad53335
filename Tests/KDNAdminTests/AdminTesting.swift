import Dispatch
import KDNControl
import Logging

@testable import KDNAdmin

/// A served endpoint and what talks to it.
struct Endpoint {
  let control: ScriptedControl
  let server: AdminServer
  let port: Int

  /// A new connection.
  func connect() throws -> RawPeer { try RawPeer(port: port) }

  /// One request over a connection of its own.
  func ask(
    _ method: String, _ path: String, _ body: String? = nil, token: String? = nil,
    fields: [String: String] = [:]
  ) throws -> RawPeer.Answer {
    var fields = fields
    if let token { fields["Authorization"] = "Bearer \(token)" }
    if let body {
      fields["Content-Length"] = "\(body.utf8.count)"
      if fields["Content-Type"] == nil { fields["Content-Type"] = "application/json" }
    }
    if fields["Host"] == nil { fields["Host"] = "localhost:\(port)" }
    let head = fields.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\r\n" }.joined()
    let peer = try connect()
    peer.send("\(method) \(path) HTTP/1.1\r\n\(head)\r\n\(body ?? "")")
    return try peer.answer(hasBody: method != "HEAD")
  }

  /// An order of the administrator.
  func order(_ method: String, _ path: String, _ body: String? = nil) throws -> RawPeer.Answer {
    try ask(method, path, body, token: ScriptedControl.token)
  }
}

/// Runs tests that block their thread on threads of their own, not on those that tasks share.
private final class BlockingExecutor: TaskExecutor {
  private let queue = DispatchQueue(label: "test")

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    queue.async { unowned.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}

protocol AdminTesting {}

extension AdminTesting {
  /// Serves while `body` runs; times are so long that a busy machine does not end them.
  func serve(
    _ control: ScriptedControl = ScriptedControl(), host: String = "127.0.0.1",
    hosts: [String] = [], connectionsMax: Int = 64, idleMilliseconds: Int = 600_000,
    requestMilliseconds: Int = 120_000,
    _ body: (Endpoint) async throws -> Void
  ) async throws {
    let configuration = AdminConfiguration(
      endpoints: [(host: host, port: 0)], hosts: hosts, connectionsMax: connectionsMax,
      idleTimeoutMilliseconds: idleMilliseconds, requestTimeoutMilliseconds: requestMilliseconds)
    let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let server = AdminServer(configuration: configuration, control: control, log: log)
    let bound = try await server.start()
    let port = bound.first?.split(separator: ":").last.flatMap { Int($0) } ?? 0
    do {
      try await withTaskExecutorPreference(BlockingExecutor()) {
        try await body(Endpoint(control: control, server: server, port: port))
      }
    } catch {
      await server.stop()
      throw error
    }
    await server.stop()
  }
}
