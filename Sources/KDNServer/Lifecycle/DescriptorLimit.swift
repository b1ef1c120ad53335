internal import Glibc

/// The process's limit of open files.
enum DescriptorLimit {
  /// Files that the daemon opens beside connections, slabs and segments: loops, listeners, logs.
  private static let reserve = 128

  /// Raises the soft limit so that `connections` and `otherFiles` fit, as far as the hard limit
  /// lets it.
  ///
  /// - Returns: the files now allowed, and how many connections fit.
  static func raise(for connections: Int, otherFiles: Int) -> (files: Int, connections: Int) {
    let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    unsafe getrlimit(kind, &limit)
    let reserve = reserve + otherFiles
    let wanted = rlim_t(connections + reserve)
    if limit.rlim_cur < wanted {
      var raised = limit
      raised.rlim_cur = min(wanted, limit.rlim_max)
      if unsafe setrlimit(kind, &raised) == 0 { limit = raised }
    }
    let files = Int(clamping: limit.rlim_cur)
    return (files, min(connections, max(1, files - reserve)))
  }
}
