internal import COpenSSL
internal import Glibc

/// Whom a client trusts, and what it shows of itself: TLS 1.3 only.
package final class TLSClient: Sendable {
  private let context: TLSContext

  /// Reads the files of a client.
  ///
  /// - Parameters:
  ///   - authoritiesPath: the authorities that are trusted; nil for those of the system.
  ///   - certificatePath: the client's own certificate with its chain, nil for none.
  ///   - keyPath: the key of that certificate; nil if the key is in the same file.
  /// - Throws: the first file that cannot be used, and why.
  package init(
    authoritiesPath: String? = nil, certificatePath: String? = nil, keyPath: String? = nil
  ) throws(TLSFault) {
    context = try TLSContext(isServer: false)
    unsafe SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER, nil)
    if let authoritiesPath {
      try context.trust(authoritiesPath: authoritiesPath)
    } else if unsafe SSL_CTX_set_default_verify_paths(context.pointer) != 1 {
      throw TLSFault(queued: .authorities)
    }
    if let certificatePath {
      try context.present(certificatePath: certificatePath, keyPath: keyPath ?? certificatePath)
    } else if let keyPath {
      throw TLSFault(.certificate, path: keyPath, "a key is of no use without its certificate")
    }
    let offer = [UInt8(TLSContext.protocolName.utf8.count)] + Array(TLSContext.protocolName.utf8)
    guard
      unsafe SSL_CTX_set_alpn_protos(context.pointer, offer, UInt32(offer.count)) == 0
    else { throw TLSFault(queued: .library) }
  }

  /// Secures the connected socket `number`, whose server must prove to be `host`: a DNS name or an
  /// address in digits.
  ///
  /// - Throws: `library` if OpenSSL cannot, or `host` is no name.
  package func makeChannel(on number: Int32, host: String) throws(TLSFault) -> TLSChannel {
    let channel = try TLSChannel(context, on: number, isServer: false)
    guard channel.expect(host: host) else {
      throw TLSFault(.library, "'\(host)' cannot be the name of a server")
    }
    return channel
  }
}
