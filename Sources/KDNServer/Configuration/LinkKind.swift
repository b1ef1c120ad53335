/// How a client reaches the daemon.
package enum LinkKind: String, Sendable, CaseIterable {
  /// Plain TCP.
  case tcp
  /// TLS 1.3 over TCP.
  case tls
  /// A Unix socket.
  case unix
  /// Memory that a client on the same host shares, beside its Unix socket.
  case sharedMemory = "shm"
  /// RDMA.
  case rdma
  /// Redis's protocol over plain TCP.
  case resp

  /// Whether sockets of this kind can be listened on, and passed by a supervisor.
  package var isSocket: Bool {
    switch self {
    case .tcp, .tls, .unix, .resp: true
    case .sharedMemory, .rdma: false
    }
  }
}
