internal import Glibc

/// What standard streams lead to.
enum Terminal {
  /// A stream that may be a terminal.
  enum Stream {
    case standardOutput
    case standardError

    fileprivate var descriptor: Int32 {
      switch self {
      case .standardOutput: STDOUT_FILENO
      case .standardError: STDERR_FILENO
      }
    }
  }

  /// Whether standard output is a terminal.
  static var isStandardOutput: Bool { isatty(STDOUT_FILENO) == 1 }
  /// Whether standard error is a terminal.
  static var isStandardError: Bool { isatty(STDERR_FILENO) == 1 }

  /// Rows and columns; 24 and 80 if it does not say.
  static func size(of stream: Stream) -> (rows: Int, columns: Int) {
    var size = winsize()
    guard unsafe ioctl(stream.descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 1,
      size.ws_col > 1
    else { return (24, 80) }
    return (Int(size.ws_row), Int(size.ws_col))
  }
}
