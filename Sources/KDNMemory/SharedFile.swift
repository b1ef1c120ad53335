internal import Glibc

/// Descriptors of one memfd with different rights.
enum SharedFile {
  /// Opens the file behind `descriptor` anew, with rights of its own.
  ///
  /// - Returns: a descriptor that the caller closes; nil if the kernel gives none.
  static func reopen(_ descriptor: Int32, _ access: Int32) -> Int32? {
    let number = unsafe open("/proc/self/fd/\(descriptor)", access | O_CLOEXEC)
    return number < 0 ? nil : number
  }

  /// Whether the file can be opened for reading: it cannot where there is no `/proc`.
  static func canReopen(_ descriptor: Int32) -> Bool {
    guard let number = reopen(descriptor, O_RDONLY) else { return false }
    _ = close(number)
    return true
  }
}
