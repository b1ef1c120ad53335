import Glibc

@testable import KDNTransport

/// A secured link and its client, which step in turn in one thread.
final class SecurePair {
  struct NoHandshake: Error { let server: String, client: String }

  let sockets: SocketPair
  let link: Link
  let client: TLSChannel
  /// How long each step waits for bytes that are on their way, which takes a moment over TCP.
  var patienceMilliseconds: Int32 = 0

  /// Connects over `sockets`, whose first end is the link's.
  init(
    _ server: TLSServer, _ client: TLSClient, host: String = "localhost",
    over sockets: SocketPair? = nil
  ) throws {
    signal(SIGPIPE, SIG_IGN)
    self.sockets = try sockets ?? SocketPair()
    link = Link(owning: dup(self.sockets.first), security: server)
    self.client = try client.makeChannel(on: self.sockets.second, host: host)
  }

  /// One authority for both; with `mutual` the client shows a certificate.
  convenience init(mutual: Bool = false, over sockets: SocketPair? = nil) throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let other = mutual ? try authority.sign("client", subject: "/CN=client") : nil
    try self.init(
      TLSServer(
        certificatePath: own.certificate, keyPath: own.key,
        clientCAPath: mutual ? authority.authorityPath : nil),
      TLSClient(
        authoritiesPath: authority.authorityPath, certificatePath: other?.certificate,
        keyPath: other?.key), over: sockets)
  }

  /// Lets both sides step until neither has more to say.
  func shakeHands() {
    for _ in 0..<16 {
      _ = client.shakeHands()
      guard link.handshake == .underWay else { break }
      awaitInput(sockets.first)
      _ = receive(1)
      awaitInput(sockets.second)
    }
    _ = client.shakeHands()
  }

  /// Shakes hands, which must succeed.
  func connect() throws -> SecurePair {
    shakeHands()
    guard link.handshake == .done, client.handshake == .done else {
      throw NoHandshake(server: link.handshakeFailure, client: client.failure)
    }
    return self
  }

  /// Waits until bytes have come for `number`.
  func awaitInput(_ number: Int32) {
    var entry = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
    poll(&entry, 1, patienceMilliseconds)
  }

  /// What the link receives with room for `count` bytes; nil when nothing is there.
  func receive(_ count: Int) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: count)
    guard case .bytes(let count) = buffer.withUnsafeMutableBytes({ link.receive(into: $0) }) else {
      return nil
    }
    return Array(buffer.prefix(count))
  }

  /// What the client receives with room for `count` bytes; empty when nothing is there.
  func clientReceive(_ count: Int = 1 << 20) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: count)
    let nowhere = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    let step = buffer.withUnsafeMutableBytes { client.receive(into: $0, then: nowhere) }
    guard case .bytes(let count) = step else { return [] }
    return Array(buffer.prefix(count))
  }

  /// Sends from the client, record by record; `drain` makes room when the socket is full.
  func clientSend(_ bytes: [UInt8], drain: () -> Void = {}) -> Bool {
    bytes.withUnsafeBytes { bytes in
      var sent = 0
      while sent < bytes.count {
        let rest = UnsafeRawBufferPointer(rebasing: bytes[sent...])
        var piece = iovec(
          iov_base: UnsafeMutableRawPointer(mutating: rest.baseAddress), iov_len: rest.count)
        sent += withUnsafeMutablePointer(to: &piece) {
          client.stageRecord(
            ofVectors: UnsafeMutableRawBufferPointer(
              UnsafeMutableBufferPointer(start: $0, count: 1)))
        }
        while true {
          let step = client.sendStaged()
          if case .bytes = step { break }
          guard step != .ended else { return false }
          drain()
        }
      }
      return true
    }
  }
}

extension SocketPair {
  /// As little room as the kernel grants in both directions.
  func shrinkBuffers() {
    var size: Int32 = 4096
    for number in [first, second] {
      setsockopt(number, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
      setsockopt(number, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }
  }
}
