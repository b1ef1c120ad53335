internal import Glibc

/// The process's standard error, for log lines.
package enum StandardError {
  /// Writes `text` with one call, so that lines of several threads do not mix.
  package static func write(_ text: String) {
    let bytes = Array(text.utf8)
    _ = unsafe Glibc.write(STDERR_FILENO, bytes, bytes.count)
  }
}
