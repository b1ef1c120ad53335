package import Logging
internal import Synchronization

/// The least severe level that is logged, changed while loggers are in use.
package final class LogThreshold: Sendable {
  /// The process's own; a log system is one for the whole process too.
  package static let shared = LogThreshold(.info)

  private let index: Atomic<Int>

  /// Starts at `level`.
  package init(_ level: Logger.Level) { index = Atomic(Self.index(of: level)) }

  /// The level; what is less severe is dropped.
  package var level: Logger.Level {
    get { Logger.Level.allCases[index.load(ordering: .relaxed)] }
    set { index.store(Self.index(of: newValue), ordering: .relaxed) }
  }

  private static func index(of level: Logger.Level) -> Int {
    guard let index = Logger.Level.allCases.firstIndex(of: level) else {
      preconditionFailure("a level is one of all levels")
    }
    return index
  }
}
