internal import Glibc

/// The process's limit of open files.
enum DescriptorLimit {
  /// Files that the daemon opens beside connections, slabs and segments: loops, listeners, logs.
  private static let reserve = 128
  /// What a connection that shares memory may have beside its socket: a window, and descriptors
  /// that were passed and not yet received, which the kernel counts as if they were open.
  private static let filesOfShare = 1 + Session.descriptorsMax

  /// What fits under the limit.
  struct Room: Equatable {
    /// Files that may be open.
    let files: Int
    /// Connections.
    let connections: Int
    /// Windows of connections that share memory.
    let windows: Int

    /// Divides `files`, of which `reserved` are for neither: connections come first.
    init(files: Int, reserved: Int, connections: Int) {
      self.files = files
      self.connections = min(connections, max(1, files - reserved))
      windows = max(0, min(self.connections, files - reserved - self.connections))
    }
  }

  /// Raises the soft limit so that `connections` and `otherFiles` fit, and what connections need
  /// that share memory if some may, as far as the hard limit lets it.
  static func raise(for connections: Int, otherFiles: Int, sharesMemory: Bool) -> Room {
    let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    unsafe getrlimit(kind, &limit)
    let reserve = reserve + otherFiles
    let wanted = rlim_t(connections * (sharesMemory ? 1 + filesOfShare : 1) + reserve)
    if limit.rlim_cur < wanted {
      var raised = limit
      raised.rlim_cur = min(wanted, limit.rlim_max)
      if unsafe setrlimit(kind, &raised) == 0 { limit = raised }
    }
    return Room(
      files: Int(clamping: limit.rlim_cur), reserved: reserve, connections: connections)
  }
}
