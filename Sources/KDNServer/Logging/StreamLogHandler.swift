internal import FoundationEssentials
internal import KDNTransport
package import Logging

/// Writes log lines to standard error, one `write` each, as logfmt or JSON.
package struct StreamLogHandler: LogHandler {
  package var metadata: Logger.Metadata = [:]
  private let label: String
  private let format: LogFormat
  private let isForJournal: Bool
  private let level: LogThreshold
  private var ownLevel: Logger.Level?

  /// Creates a handler whose level is that of `level` at each moment, unless it is the audit log's,
  /// which no level hides; `isForJournal` puts the journal's priority in front of each line.
  package init(label: String, format: LogFormat, level: LogThreshold, isForJournal: Bool) {
    self.label = label
    self.format = format
    self.level = level
    self.isForJournal = isForJournal
    ownLevel = label == AuditLog.label ? .trace : nil
  }

  package var logLevel: Logger.Level {
    get { ownLevel ?? level.level }
    set { ownLevel = newValue }
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var fields = [
      (name: "ts", value: Self.timestamp()), (name: "level", value: event.level.rawValue),
      (name: "msg", value: event.message.description),
    ]
    if label == AuditLog.label { fields.append((name: "log", value: "audit")) }
    let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
    for (name, value) in all.sorted(by: { $0.key < $1.key }) {
      fields.append((name, value.description))
    }
    let priority = isForJournal ? Self.priority(of: event.level) : nil
    StandardError.write(LogLine(format: format, priority: priority).render(fields))
  }

  private static func timestamp() -> String {
    Date.now.formatted(
      Date.ISO8601FormatStyle(includingFractionalSeconds: true, timeZone: .gmt))
  }

  /// Priorities of syslog(3).
  private static func priority(of level: Logger.Level) -> Int {
    switch level {
    case .critical: 2
    case .error: 3
    case .warning: 4
    case .notice: 5
    case .info: 6
    case .debug, .trace: 7
    }
  }
}
