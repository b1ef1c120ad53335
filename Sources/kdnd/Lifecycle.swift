import Dispatch
import Glibc
import KDNCore
import KDNServer
import Logging

/// Signals: the first SIGTERM or SIGINT drains, the second ends at once.
// Safe because: what changes is touched only on `queue`.
final class Lifecycle: @unchecked Sendable {
  private let log: Logger
  private let queue = DispatchQueue(label: "kdn.lifecycle")
  private var sources: [any DispatchSourceSignal] = []
  private var server: Server?
  private var isEnding = false

  init(log: Logger) {
    self.log = log
    for number in [SIGTERM, SIGINT, SIGHUP] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { @Sendable [weak self] in self?.received(number) }
      source.activate()
      sources.append(source)
    }
  }

  /// Says that `server` is ready and keeps it until a signal ends it.
  func serve(_ server: Server) {
    queue.sync { self.server = server }
    var metadata: Logger.Metadata = ["version": "\(Version.text)"]
    for endpoint in server.endpoints {
      switch endpoint {
      case .tcp: metadata["tcp"] = "\(endpoint)"
      case .unix(let path): metadata["unix"] = "\(path)"
      }
    }
    log.notice("ready", metadata: metadata)
  }

  private func received(_ number: Int32) {
    guard number != SIGHUP else {
      return log.notice("SIGHUP: nothing in this configuration changes without a restart")
    }
    guard !isEnding else {
      log.warning("second signal: ending at once")
      exit(KDNDaemon.Exit.drainCutShort.rawValue)
    }
    isEnding = true
    guard let server else { exit(0) }
    server.drain { [log] isEmpty in
      log.notice("ended", metadata: ["drained": "\(isEmpty)"])
      exit(isEmpty ? 0 : KDNDaemon.Exit.drainCutShort.rawValue)
    }
  }
}
