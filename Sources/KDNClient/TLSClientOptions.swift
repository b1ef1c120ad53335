/// How a client secures its connection, and what it shows of itself.
package struct TLSClientOptions: Equatable, Sendable {
  /// File with the authorities that the server's certificate must come from; nil: the system's.
  package var authoritiesPath: String?
  /// File with the client's own certificate, for mutual TLS.
  package var certificatePath: String?
  /// File with the key of that certificate; nil if it is in the same file.
  package var keyPath: String?
  /// The name that the server's certificate must bear; nil: the host that is connected to.
  package var serverName: String?

  /// Creates options; without arguments the system's authorities are trusted and nothing is shown.
  package init(
    authoritiesPath: String? = nil, certificatePath: String? = nil, keyPath: String? = nil,
    serverName: String? = nil
  ) {
    self.authoritiesPath = authoritiesPath
    self.certificatePath = certificatePath
    self.keyPath = keyPath
    self.serverName = serverName
  }
}
