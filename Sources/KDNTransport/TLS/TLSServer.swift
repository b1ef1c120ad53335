internal import COpenSSL
internal import Glibc

/// What a server shows to its clients, and whom it admits: TLS 1.3 only.
///
/// It never changes: to reload make a new one; links keep the one that they began with. Writing to
/// a connection that the client has left raises SIGPIPE, which the process must ignore.
package final class TLSServer: Sendable {
  private let context: TLSContext
  /// Whether clients must show a certificate.
  package let verifiesClients: Bool
  /// The certificate's subject, such as `CN=kdn.example.org`.
  package let subject: String
  /// When the certificate ends, in seconds since 1970.
  package let expiresAtUnixSeconds: Int

  /// Reads a certificate with its chain and its key, and, for mutual TLS, the authorities that
  /// clients' certificates must come from.
  ///
  /// - Throws: the first file that cannot be used, and why.
  package init(
    certificatePath: String, keyPath: String, clientCAPath: String? = nil
  ) throws(TLSFault) {
    context = try TLSContext(isServer: true)
    try context.present(certificatePath: certificatePath, keyPath: keyPath)
    verifiesClients = clientCAPath != nil
    guard let own = unsafe SSL_CTX_get0_certificate(context.pointer) else {
      throw TLSFault(.certificate, path: certificatePath, "no certificate")
    }
    subject = unsafe PeerNames.subject(of: own)
    expiresAtUnixSeconds = unsafe PeerNames.endOfLife(of: own)
    if let clientCAPath { try Self.requireCertificates(context, clientCAPath) }
    // Only KDN's protocol is spoken here: a client that asks for others has lost its way.
    unsafe SSL_CTX_set_alpn_select_cb(
      context.pointer,
      { _, chosen, length, offered, count, _ in
        unsafe TLSServer.choose(chosen, length, offered, count)
      }, nil)
  }

  /// Secures the socket `number`, whose client speaks first.
  ///
  /// - Throws: `library` if OpenSSL cannot.
  func makeChannel(on number: Int32) throws(TLSFault) -> TLSChannel {
    try TLSChannel(context, on: number, isServer: true)
  }

  private static func requireCertificates(
    _ context: TLSContext, _ path: String
  ) throws(TLSFault) {
    try context.trust(authoritiesPath: path)
    // The library owns the list from here on.
    guard let names = unsafe SSL_load_client_CA_file(path) else {
      throw TLSFault(queued: .authorities, path: path)
    }
    unsafe SSL_CTX_set_client_CA_list(context.pointer, names)
    unsafe SSL_CTX_set_verify(
      context.pointer, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
  }

  /// Chooses `kdnp/1` among the names that a client offers, each behind a byte with its length.
  private static func choose(
    _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ length: UnsafeMutablePointer<UInt8>?,
    _ offered: UnsafePointer<UInt8>?, _ count: UInt32
  ) -> Int32 {
    guard let chosen = unsafe chosen, let length = unsafe length, let offered = unsafe offered
    else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    let wanted = TLSContext.protocolName.utf8
    let names = unsafe UnsafeBufferPointer(start: offered, count: Int(count))
    var index = 0
    while index < names.count {
      let end = index + 1 + Int(unsafe names[index])
      guard end <= names.count else { break }
      if unsafe names[index + 1..<end].elementsEqual(wanted) {
        unsafe chosen.pointee = offered + index + 1
        unsafe length.pointee = UInt8(wanted.count)
        return SSL_TLSEXT_ERR_OK
      }
      index = end
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
  }
}
