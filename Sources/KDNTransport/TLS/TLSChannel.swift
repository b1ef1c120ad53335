internal import COpenSSL
internal import Glibc

/// How far the agreement on keys has come.
package enum HandshakeState: Equatable, Sendable {
  /// The link is plain.
  case none
  /// Both sides still speak about keys: no data can go either way.
  case underWay
  /// The keys are agreed, and the other side's certificate is verified if one was asked for.
  case done
  /// It came to nothing; the connection is of no use.
  case failed
}

/// TLS over one non-blocking socket that somebody else owns; used by one thread at a time.
@safe package final class TLSChannel {
  /// What came of one attempt.
  package enum Step: Equatable, Sendable {
    /// So many bytes were moved; 0 for a handshake that is done.
    case bytes(Int)
    /// It goes on when the socket can be read.
    case wantsRead
    /// It goes on when the socket can be written.
    case wantsWrite
    /// The other side has finished, or the connection broke.
    case ended
  }

  /// Most bytes of one record.
  package static let recordBytesMax = 16 << 10

  private let ssl: OpaquePointer
  private let context: TLSContext
  /// How far the handshake has come.
  package private(set) var handshake = HandshakeState.underWay
  /// Why the handshake failed or what the other side refused; empty as long as nothing did.
  package private(set) var failure = ""
  /// What the handshake waits for, while it is under way.
  private(set) var handshakeWaitsToWrite = false
  /// The last receive found the socket empty: what the library keeps is part of a record.
  private var isDry = false
  private var hasEnded = false
  /// Names of the other side's verified certificate, once the handshake is done.
  package private(set) var peerNames: [String] = []
  /// Where pieces become a record, and what of a record waits to be taken.
  private(set) var stage = RecordStage()

  /// Secures the socket `number`.
  ///
  /// - Throws: `library` if OpenSSL cannot.
  init(_ context: TLSContext, on number: Int32, isServer: Bool) throws(TLSFault) {
    ERR_clear_error()
    guard let ssl = unsafe SSL_new(context.pointer) else { throw TLSFault(queued: .library) }
    unsafe self.ssl = ssl
    self.context = context
    guard unsafe SSL_set_fd(ssl, number) == 1 else { throw TLSFault(queued: .library) }
    if isServer { unsafe SSL_set_accept_state(ssl) } else { unsafe SSL_set_connect_state(ssl) }
  }

  deinit { unsafe SSL_free(ssl) }

  /// The cipher suite agreed on, such as `TLS_AES_128_GCM_SHA256`; empty before that.
  package var cipherSuite: String {
    guard handshake == .done, let cipher = unsafe SSL_get_current_cipher(ssl),
      let name = unsafe SSL_CIPHER_get_name(cipher)
    else { return "" }
    return unsafe String(cString: name)
  }
  /// Whether the kernel encrypts what is sent; else the library does, in this thread.
  package var kernelSends: Bool { unsafe kdn_tls_kernel_sends(ssl) == 1 }
  /// Whether the kernel decrypts what is received.
  package var kernelReceives: Bool { unsafe kdn_tls_kernel_receives(ssl) == 1 }
  /// True if `receive` would give something out without the socket having more.
  package var hasBufferedInput: Bool {
    guard handshake == .done, !isDry else { return false }
    return unsafe hasEnded || SSL_has_pending(ssl) == 1
  }

  /// The server must prove to be `host`; false if that is no name.
  func expect(host: String) -> Bool {
    var address = in6_addr()
    let isAddress =
      unsafe inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1
    guard !isAddress else {
      return unsafe X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1
    }
    guard !host.isEmpty, !host.utf8.contains(0) else { return false }
    unsafe SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
    return unsafe SSL_set1_host(ssl, host) == 1 && kdn_tls_set_server_name(ssl, host) == 1
  }

  /// Goes on with the handshake as far as the socket lets; `bytes(0)` once it is done.
  package func shakeHands() -> Step {
    guard handshake == .underWay else { return handshake == .done ? .bytes(0) : .ended }
    ERR_clear_error()
    let result = unsafe SSL_do_handshake(ssl)
    if result == 1 {
      handshake = .done
      handshakeWaitsToWrite = false
      readPeerNames()
      return .bytes(0)
    }
    let step = meaning(of: result)
    handshakeWaitsToWrite = step == .wantsWrite
    if step == .ended { fail() }
    return step
  }

  /// Receives into `first`, which must not be empty, and into `second` when `first` is full: all
  /// that is there, so that less than there is room for means that the socket is empty.
  ///
  /// A connection that is cut without the other side's word for it has simply ended: frames bear
  /// their lengths and checksums, so that a cut inside one is seen, and a cut between two is no
  /// different from a word of farewell.
  @unsafe package func receive(
    into first: UnsafeMutableRawBufferPointer, then second: UnsafeMutableRawBufferPointer
  ) -> Step {
    guard !hasEnded else { return .ended }
    isDry = false
    let (count, step) = unsafe fill(first)
    guard count == first.count, unsafe !second.isEmpty else {
      return count > 0 ? .bytes(count) : step
    }
    let (more, _) = unsafe fill(second)
    return .bytes(count + more)
  }

  /// Fills `buffer`; says how far, and why not farther.
  private func fill(_ buffer: UnsafeMutableRawBufferPointer) -> (Int, Step) {
    var filled = 0
    while filled < buffer.count {
      var count = 0
      ERR_clear_error()
      let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
      let result = unsafe SSL_read_ex(ssl, rest.baseAddress, rest.count, &count)
      guard result != 1 else {
        filled += count
        continue
      }
      let step = meaning(of: result)
      if step == .ended { hasEnded = true } else { isDry = true }
      return (filled, step)
    }
    return (filled, .bytes(filled))
  }

  /// Makes a record of the first of `pieces`, which no other may precede; says of how many bytes.
  ///
  /// What is not copied is sent from its place, and stays readable there until it is out.
  @unsafe func stageRecord(of pieces: UnsafeMutableBufferPointer<iovec>) -> Int {
    unsafe stage.fill(from: pieces)
  }

  /// The same with `vectors`, whole `iovec`s, for modules that import their own.
  @unsafe package func stageRecord(ofVectors vectors: UnsafeMutableRawBufferPointer) -> Int {
    unsafe stageRecord(of: vectors.assumingMemoryBound(to: iovec.self))
  }

  /// Sends the record that was staged: all of it or nothing, and then it must be tried again.
  package func sendStaged() -> Step {
    let record = unsafe stage.record
    var count = 0
    ERR_clear_error()
    let result = unsafe SSL_write_ex(ssl, record.baseAddress, record.count, &count)
    guard result != 1 else {
      precondition(count == record.count, "a record is sent whole")
      stage.clear()
      return .bytes(count)
    }
    let step = meaning(of: result)
    if step == .ended { hasEnded = true }
    return step
  }

  /// Tells the other side that nothing more comes, if that can be done at once.
  package func sayGoodbye() {
    guard handshake == .done, !hasEnded, stage.isEmpty else { return }
    ERR_clear_error()
    _ = unsafe SSL_shutdown(ssl)
    ERR_clear_error()
  }

  private func meaning(of result: Int32) -> Step {
    switch unsafe SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ: return .wantsRead
    case SSL_ERROR_WANT_WRITE: return .wantsWrite
    default:
      if let reason = TLSFault.queuedReason() { failure = reason }
      return .ended
    }
  }

  private func fail() {
    handshake = .failed
    hasEnded = true
    if failure.isEmpty { failure = "the connection was closed" }
    let verdict = unsafe SSL_get_verify_result(ssl)
    guard verdict != Int(X509_V_OK) else { return }
    failure += unsafe ": \(String(cString: X509_verify_cert_error_string(verdict)))"
  }

  /// Asks for a change of key in both directions, for tests.
  func requestKeyUpdate() -> Bool { unsafe SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 }

  private func readPeerNames() {
    guard let certificate = unsafe SSL_get1_peer_certificate(ssl) else { return }
    defer { unsafe X509_free(certificate) }
    guard unsafe SSL_get_verify_result(ssl) == Int(X509_V_OK) else { return }
    peerNames = unsafe PeerNames.all(of: certificate)
  }
}
