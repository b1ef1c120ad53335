package import KDNCore
package import KDNTransport

/// Listeners with TLS, and the files that they need.
package struct TLSSettings: Sendable {
  /// Where to listen.
  package var endpoints: [Endpoint]
  /// The server's certificate with its chain; nil without TLS.
  package var certificatePath: String?
  /// The certificate's key; there if the certificate is.
  package var keyPath: String?
  /// Authorities of clients' certificates; nil: none is demanded.
  package var clientCAPath: String?

  /// Reads the files.
  ///
  /// - Returns: nil if no certificate is configured.
  /// - Throws: a fault that names the key of the file that cannot be used.
  package func makeServer() throws(FieldFault) -> TLSServer? {
    guard let certificatePath, let keyPath else { return nil }
    do {
      return try TLSServer(
        certificatePath: certificatePath, keyPath: keyPath, clientCAPath: clientCAPath)
    } catch {
      let key =
        switch error.part {
        case .certificate, .library: "tls_certificate"
        case .key: "tls_key"
        case .authorities: "tls_client_ca"
        }
      throw FieldFault(key, value: 0, limit: 0, "\(error)")
    }
  }
}

/// The HTTP endpoint for administrators.
package struct AdminSettings: Sendable {
  /// Where to listen; empty: nowhere.
  package var endpoints: [(host: String, port: Int)]
  /// Names by which it may be called, beside its own.
  package var hosts: [String]
  /// Who may give orders.
  package var administrators: [Administrator]
}
