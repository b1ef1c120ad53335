import KDNCore
import Logging

/// Remembers what is logged, for tests to read.
final class RecordingLog: Sendable {
  /// One line.
  struct Line: Sendable, Equatable {
    let level: Logger.Level
    let message: String
    let values: [String: String]
  }

  private let kept = Guarded<[Line]>([])

  var lines: [Line] { kept.withLock { $0 } }

  /// A logger that writes here.
  func logger(_ label: String) -> Logger {
    Logger(label: label) { _ in Handler(log: self) }
  }

  private struct Handler: LogHandler {
    let log: RecordingLog
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let line = Line(
        level: event.level, message: event.message.description,
        values: (event.metadata ?? [:]).mapValues(\.description))
      log.kept.withLock { $0.append(line) }
    }
  }
}
