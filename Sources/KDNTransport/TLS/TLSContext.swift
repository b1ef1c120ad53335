internal import COpenSSL

/// An OpenSSL context, set up once and only read afterwards.
// Safe because: OpenSSL counts references and locks what connections share of a context; all
// settings are made before the context is handed to a second thread.
@safe final class TLSContext: @unchecked Sendable {
  /// The one protocol that is spoken inside.
  static let protocolName = "kdnp/1"
  /// AES first: processors have instructions for it.
  private static let cipherSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
  /// Longest chain of certificates that the other side may send, in bytes.
  private static let certificateBytesMax = 64 << 10
  /// Bytes taken from the socket at once: several records of 16 KiB.
  private static let readBufferBytes = 64 << 10

  let pointer: OpaquePointer

  /// Creates a context for servers or for clients: TLS 1.3 only, no tickets, no compression.
  ///
  /// - Throws: `library` if OpenSSL cannot.
  init(isServer: Bool) throws(TLSFault) {
    ERR_clear_error()
    let method = unsafe isServer ? TLS_server_method() : TLS_client_method()
    guard let pointer = unsafe SSL_CTX_new(method) else { throw TLSFault(queued: .library) }
    unsafe self.pointer = pointer
    guard unsafe kdn_tls_only_1_3(pointer) == 1,
      unsafe SSL_CTX_set_ciphersuites(pointer, Self.cipherSuites) == 1,
      unsafe SSL_CTX_set_num_tickets(pointer, 0) == 1
    else { throw TLSFault(queued: .library) }
    _ = unsafe SSL_CTX_set_options(pointer, kdn_tls_options())
    unsafe kdn_tls_no_session_cache(pointer)
    unsafe kdn_tls_set_certificate_bytes_max(pointer, Self.certificateBytesMax)
    // A record is offered until it is out, from wherever it lies then.
    unsafe kdn_tls_set_mode(
      pointer,
      Int(SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        | Int(SSL_MODE_RELEASE_BUFFERS))
    // Records without data, such as changes of key, give the caller its turn back: whoever sends
    // nothing else must not keep the thread.
    unsafe kdn_tls_clear_mode(pointer, Int(SSL_MODE_AUTO_RETRY))
    unsafe kdn_tls_read_ahead(pointer)
    unsafe SSL_CTX_set_default_read_buffer_len(pointer, Self.readBufferBytes)
    // An encrypted key would make the library ask at the terminal.
    unsafe SSL_CTX_set_default_passwd_cb(pointer) { _, _, _, _ in -1 }
  }

  deinit { unsafe SSL_CTX_free(pointer) }

  /// Shows a certificate to the other side.
  ///
  /// - Throws: `certificate` or `key`, if a file cannot be read or the two do not belong together.
  func present(certificatePath: String, keyPath: String) throws(TLSFault) {
    ERR_clear_error()
    try TLSFault.check(.certificate, path: certificatePath)
    guard unsafe SSL_CTX_use_certificate_chain_file(pointer, certificatePath) == 1 else {
      throw TLSFault(queued: .certificate, path: certificatePath)
    }
    try TLSFault.check(.key, path: keyPath)
    guard unsafe SSL_CTX_use_PrivateKey_file(pointer, keyPath, SSL_FILETYPE_PEM) == 1 else {
      throw TLSFault(queued: .key, path: keyPath)
    }
    guard unsafe SSL_CTX_check_private_key(pointer) == 1 else {
      throw TLSFault(queued: .key, path: keyPath)
    }
  }

  /// Trusts the authorities in a file, and no others.
  ///
  /// - Throws: `authorities` if the file cannot be read or holds no certificate.
  func trust(authoritiesPath: String) throws(TLSFault) {
    ERR_clear_error()
    try TLSFault.check(.authorities, path: authoritiesPath)
    guard unsafe SSL_CTX_load_verify_file(pointer, authoritiesPath) == 1 else {
      throw TLSFault(queued: .authorities, path: authoritiesPath)
    }
  }
}
