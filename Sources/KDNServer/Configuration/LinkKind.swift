/// How a client reaches the daemon.
package enum LinkKind: String, Sendable, CaseIterable {
  /// Plain TCP.
  case tcp
  /// TLS 1.3 over TCP.
  case tls
  /// A Unix socket.
  case unix
  /// Redis's protocol over plain TCP.
  case resp
}
