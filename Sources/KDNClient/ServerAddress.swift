package import KDNCore
package import KDNTransport

/// An address as users write it: `HOST:PORT`, `tls://HOST:PORT`, `unix:///PATH` or
/// `rdma://HOST:PORT`.
package struct ServerAddress: Hashable, Sendable, CustomStringConvertible {
  /// Where to connect.
  package let endpoint: Endpoint
  /// Whether the connection is secured.
  package let usesTLS: Bool
  /// Whether the connection is made over RDMA.
  package let usesRDMA: Bool

  private static let tlsPrefix = "tls://"
  private static let rdmaPrefix = "rdma://"
  private static let unixPrefix = "unix://"

  /// Reads an address.
  ///
  /// - Throws: a fault that names `field` if the text has another form.
  package init(parsing text: String, field: String) throws(FieldFault) {
    usesTLS = text.hasPrefix(Self.tlsPrefix)
    usesRDMA = text.hasPrefix(Self.rdmaPrefix)
    if text.hasPrefix(Self.unixPrefix) {
      endpoint = try Endpoint(
        parsingUnix: String(text.dropFirst(Self.unixPrefix.count)), field: field)
    } else {
      let prefix = usesTLS ? Self.tlsPrefix : usesRDMA ? Self.rdmaPrefix : ""
      let rest = String(text.dropFirst(prefix.count))
      guard !rest.contains("/") else {
        throw FieldFault(
          field, value: text.utf8.count, limit: 0,
          "'\(text)' is not HOST:PORT, tls://HOST:PORT, unix:///PATH or rdma://HOST:PORT")
      }
      endpoint = try Endpoint(parsingTCP: rest, field: field)
    }
  }

  package var description: String {
    (usesTLS ? Self.tlsPrefix : usesRDMA ? Self.rdmaPrefix : "") + endpoint.description
  }
}
