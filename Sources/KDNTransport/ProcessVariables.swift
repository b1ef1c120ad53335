internal import Glibc

/// Variables of the process that concern nobody who is started by it.
package enum ProcessVariables {
  /// Removes variables; to be called before there are other threads, which may read them.
  package static func remove(_ names: [String]) {
    for name in names { _ = unsafe unsetenv(name) }
  }
}
