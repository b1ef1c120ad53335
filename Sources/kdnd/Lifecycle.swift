import Dispatch
import Glibc
import KDNAdmin
import KDNControl
import KDNCore
import KDNServer
import KDNTransport
import Logging

/// Signals and the supervisor: the first SIGTERM or SIGINT drains, the second ends at once; SIGHUP
/// reads the configuration anew.
// Safe because: what changes is touched only on `queue`.
final class Lifecycle: @unchecked Sendable {
  /// How long what comes after a drain may take: checkpoint of the disk tier, HTTP endpoint.
  private static let endMilliseconds: UInt64 = 15_000

  private let log: Logger
  private let supervisor: Supervisor
  private let queue = DispatchQueue(label: "kdn.lifecycle")
  private var sources: [any DispatchSourceSignal] = []
  private var server: Server?
  private var admin: AdminServer?
  /// A signal to end came; an administrator's order before it does not count.
  private var hasSignal = false
  private var isEnding = false

  init(supervisor: Supervisor, log: Logger) {
    self.supervisor = supervisor
    self.log = log
    let listens = DispatchSemaphore(value: 0)
    for number in [SIGTERM, SIGINT, SIGHUP] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { @Sendable [weak self] in self?.received(number) }
      source.setRegistrationHandler { @Sendable in listens.signal() }
      source.activate()
      sources.append(source)
    }
    // A source listens some time after it was activated: a signal before that would be lost.
    for _ in sources { listens.wait() }
  }

  /// Serves administrators too, then says that the daemon is ready and keeps it until it is ended.
  ///
  /// - Throws: `AdminStartError` if the HTTP endpoint cannot listen.
  func serve(_ server: Server) async throws {
    let configuration = server.keeper.configuration
    let admin = configuration.admin.endpoints.isEmpty ? nil : makeAdmin(server, configuration)
    server.control.onDrain { [self] _ in
      queue.async { self.drain() }
    }
    server.keeper.watchReloads(
      will: { [supervisor] in supervisor.notifier.reloading() },
      did: { [supervisor] configuration in
        admin?.setHosts(configuration.admin.hosts)
        supervisor.notifier.ready(Self.status(server))
      })
    queue.sync { (self.server, self.admin) = (server, admin) }
    let addresses = try await admin?.start() ?? []
    log.notice("ready", metadata: Self.places(server, addresses))
    supervisor.started(Self.status(server), ping: server.pingLoops)
  }

  private func makeAdmin(_ server: Server, _ configuration: ServerConfiguration) -> AdminServer {
    AdminServer(
      configuration: AdminConfiguration(
        endpoints: configuration.admin.endpoints, hosts: configuration.admin.hosts),
      control: server.control, log: log)
  }

  private static func places(_ server: Server, _ admin: [String]) -> Logger.Metadata {
    var metadata: Logger.Metadata = ["version": "\(Version.text)"]
    for (kind, endpoint) in server.listeners {
      if case .unix(let path) = endpoint {
        metadata[kind.rawValue] = "\(path)"
      } else {
        metadata[kind.rawValue] = "\(endpoint)"
      }
    }
    if let last = admin.last { metadata["admin"] = "\(last)" }
    return metadata
  }

  private static func status(_ server: Server) -> String {
    let places = server.listeners.map { "\($0.kind.rawValue) \($0.endpoint)" }
    return "serving " + places.joined(separator: ", ")
  }

  private func received(_ number: Int32) {
    guard let server else {
      // Nothing is served yet: there is nothing to drain, and nothing to reload.
      if number != SIGHUP { exit(0) }
      return
    }
    guard number != SIGHUP else {
      return reload(server)
    }
    guard !hasSignal else {
      log.warning("second signal: ending at once")
      exit(KDNDaemon.Exit.drainCutShort.rawValue)
    }
    hasSignal = true
    server.control.drain(by: .signal)
  }

  private func reload(_ server: Server) {
    Task { [log] in
      do {
        let changed = try await server.control.reload(by: .signal).changed
        log.notice("reloaded", metadata: ["changed": "\(changed.joined(separator: ","))"])
      } catch {
        log.error("not reloaded: nothing has changed", metadata: ["error": "\(error)"])
      }
    }
  }

  private func drain() {
    guard !isEnding, let server else { return }
    isEnding = true
    let timeout = UInt64(server.keeper.settings.values.drainTimeoutMilliseconds)
    supervisor.stopping(milliseconds: timeout + Self.endMilliseconds)
    server.drain { [log, admin] isEmpty in
      Task {
        await admin?.stop()
        log.notice("ended", metadata: ["drained": "\(isEmpty)"])
        exit(isEmpty ? 0 : KDNDaemon.Exit.drainCutShort.rawValue)
      }
    }
  }
}
