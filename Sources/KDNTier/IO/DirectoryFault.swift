internal import Glibc

/// Why a directory cannot be used.
package enum DirectoryFault: Error, Equatable, Sendable, CustomStringConvertible {
  /// Another process has it; its number, if it can be told.
  case inUse(path: String, pid: Int32?)
  /// Something else has this name.
  case notADirectory(path: String)
  /// The kernel refused something.
  case system(DiskError)

  package var description: String {
    switch self {
    case .inUse(let path, let pid):
      let owner = pid.map { "process \($0)" } ?? "another process"
      return "\(path) is in use by \(owner): stop it, or give this one a directory of its own"
    case .notADirectory(let path):
      return "\(path) is not a directory: name one, or a path where one can be made"
    case .system(let error):
      return "\(error) (\(unsafe String(cString: strerror(error.code))))"
    }
  }
}
