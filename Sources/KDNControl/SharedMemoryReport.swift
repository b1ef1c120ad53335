/// Memory that the daemon shares with clients on its host.
package struct SharedMemoryReport: Codable, Sendable {
  /// One connection that has used it.
  package struct Connection: Codable, Sendable {
    /// The connection's number, as in the log and among slow requests.
    package var connection: UInt64
    /// Its namespace.
    package var namespace: String
    /// The client's process; 0 if the daemon sees no numbers of its kind.
    package var pid: Int32
    /// The client's user.
    package var uid: UInt32
    /// Answers that it reads in place now.
    package var leases: Int
    /// Bytes of them.
    package var leasedBytes: Int
    /// Length of its window; 0 without one.
    package var windowBytes: Int

    /// Puts the values together.
    package init(
      connection: UInt64, namespace: String, pid: Int32, uid: UInt32, leases: Int,
      leasedBytes: Int, windowBytes: Int
    ) {
      self.connection = connection
      self.namespace = namespace
      self.pid = pid
      self.uid = uid
      self.leases = leases
      self.leasedBytes = leasedBytes
      self.windowBytes = windowBytes
    }
  }

  /// Whether it is offered on the Unix socket.
  package var offered: Bool
  /// Answers read in place now, of all connections.
  package var leases: Int
  /// Bytes of them, counted once for each lease.
  package var leasedBytes: Int
  /// Windows open.
  package var windows: Int
  /// Bytes of them.
  package var windowBytes: Int
  /// The most that they may take.
  package var windowBytesMax: Int
  /// Bytes that only clients hold any more: they have slabs mapped that were handed on.
  package var strandedBytes: Int
  /// Connections with which memory was not shared because of their user.
  package var refusedTotal: UInt64
  /// The connections with the most bytes, at most 64.
  package var connections: [Connection]

  /// Puts the values together.
  package init(
    offered: Bool, leases: Int, leasedBytes: Int, windows: Int, windowBytes: Int,
    windowBytesMax: Int, strandedBytes: Int, refusedTotal: UInt64, connections: [Connection]
  ) {
    self.offered = offered
    self.leases = leases
    self.leasedBytes = leasedBytes
    self.windows = windows
    self.windowBytes = windowBytes
    self.windowBytesMax = windowBytesMax
    self.strandedBytes = strandedBytes
    self.refusedTotal = refusedTotal
    self.connections = connections
  }
}
