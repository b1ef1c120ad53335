import Glibc
import KDNCore
import Testing

@testable import KDNTransport

@Suite("A handshake")
struct TLSHandshakeTests {
  @Test("agrees on keys, and says with which suite and who encrypts")
  func agrees() throws {
    let pair = try SecurePair()
    #expect(pair.link.handshake == .underWay)
    #expect(pair.link.securityDescription == nil)
    _ = try pair.connect()
    #expect(pair.link.securityDescription == "TLS_AES_128_GCM_SHA256 by the process")
    #expect(pair.link.peerNames.isEmpty)
  }

  @Test("over TCP is the kernel's to go on with, if the kernel can")
  func fallsBackWithoutKernel() throws {
    let pair = try SecurePair(over: SocketPair(overTCP: ()))
    pair.patienceMilliseconds = 1000
    _ = try pair.connect()
    let number = open("/proc/sys/net/ipv4/tcp_available_ulp", O_RDONLY)
    defer { close(number) }
    var text = [UInt8](repeating: 0, count: 256)
    let count = max(0, read(number, &text, text.count))
    let known = String(decoding: text.prefix(count), as: UTF8.self)
    let knowsTLS = known.split(whereSeparator: \.isWhitespace).contains("tls")
    #expect(pair.link.channel?.kernelSends == knowsTLS)
    #expect(pair.clientSend([1, 2, 3]))
    pair.awaitInput(pair.sockets.first)
    #expect(pair.receive(8) == [1, 2, 3])
  }

  @Test("may arrive byte by byte")
  func arrivesInPieces() throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let near = try SocketPair()
    let far = try SocketPair()
    let server = try TLSServer(certificatePath: own.certificate, keyPath: own.key)
    let link = Link(owning: dup(far.first), security: server)
    let client = try TLSClient(authoritiesPath: authority.authorityPath)
      .makeChannel(on: near.second, host: "127.0.0.1")
    var buffer = [UInt8](repeating: 0, count: 16)
    var relayed = 0
    while client.handshake == .underWay || link.handshake == .underWay {
      _ = client.shakeHands()
      let there = near.read(from: near.first, limit: 1)
      far.write(there, to: far.second)
      #expect(buffer.withUnsafeMutableBytes { link.receive(into: $0) } == .wouldBlock)
      let back = far.read(from: far.second, limit: 1)
      near.write(back, to: near.first)
      relayed += there.count + back.count
      try #require(relayed < 16_384)
    }
    #expect(relayed > 500)
    #expect(link.handshake == .done && client.handshake == .done)
  }

  @Test(
    "with something else than a client of TLS ends the link, and says why",
    arguments: [
      Array("GET / HTTP/1.1\r\n\r\n".utf8), [UInt8](repeating: 0, count: 64),
      [0x16, 3, 1, 0xFF, 0xFF] + [UInt8](repeating: 7, count: 4096),
      Array("KDNP".utf8) + [UInt8](repeating: 1, count: 60),
    ])
  func refusesGarbage(bytes: [UInt8]) throws {
    let pair = try SecurePair()
    pair.sockets.write(bytes, to: pair.sockets.second)
    #expect(pair.receive(16) == nil)
    #expect(pair.link.handshake == .failed)
    #expect(!pair.link.handshakeFailure.isEmpty)
    pair.link.send([1], isUrgent: true)
    #expect(!pair.link.flush())
    #expect(!pair.link.hasBufferedInput)
  }

  @Test("with a client of TLS 1.2 is refused with the alert for that")
  func refusesOldVersion() throws {
    let pair = try SecurePair()
    let suites: [UInt8] = [0, 2, 0xC0, 0x2B]
    let extensions: [UInt8] = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]
    let hello: [UInt8] =
      [3, 3] + [UInt8](repeating: 9, count: 32) + [0] + suites + [1, 0]
      + [0, UInt8(extensions.count)] + extensions
    let message = [1, 0, 0, UInt8(hello.count)] + hello
    pair.sockets.write([0x16, 3, 1, 0, UInt8(message.count)] + message, to: pair.sockets.second)
    #expect(pair.receive(16) == nil)
    #expect(pair.link.handshake == .failed)
    #expect(pair.link.handshakeFailure == "unsupported protocol")
    #expect(pair.sockets.read(from: pair.sockets.second) == [0x15, 3, 3, 0, 2, 2, 70])
  }

  @Test("fails for a client that trusts another authority, and the server hears of it")
  func refusesStrangeServer() throws {
    let own = try TestAuthority()
    let files = try own.sign("server")
    let other = try TestAuthority()
    let pair = try SecurePair(
      TLSServer(certificatePath: files.certificate, keyPath: files.key),
      TLSClient(authoritiesPath: other.authorityPath))
    pair.shakeHands()
    #expect(pair.client.handshake == .failed)
    #expect(pair.client.failure.contains("certificate verify failed"))
    #expect(pair.link.handshake == .failed)
    #expect(pair.link.handshakeFailure.contains("alert"))
  }

  @Test("fails for a server of another name", arguments: ["example.org", "127.0.0.2", "::1"])
  func refusesOtherName(host: String) throws {
    let own = try TestAuthority()
    let files = try own.sign("server")
    let pair = try SecurePair(
      TLSServer(certificatePath: files.certificate, keyPath: files.key),
      TLSClient(authoritiesPath: own.authorityPath), host: host)
    pair.shakeHands()
    #expect(pair.client.handshake == .failed)
    #expect(pair.client.failure.contains("mismatch"))
  }

  @Test("of two that must know each other gives the client's names")
  func namesTheClient() throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let files = try authority.sign(
      "client", subject: "/O=KDN/CN=worker 7",
      names: "DNS:Worker-7.Example.org,URI:spiffe://kdn/worker/7,DNS:CN=admin,URI:CN=admin,"
        + "email:a@b.c")
    let server = try TLSServer(
      certificatePath: own.certificate, keyPath: own.key, clientCAPath: authority.authorityPath)
    #expect(server.verifiesClients)
    #expect(server.subject == "CN=localhost")
    #expect(server.expiresAtUnixSeconds > Int(time(nil)) + 86_000)
    let pair = try SecurePair(
      server,
      TLSClient(
        authoritiesPath: authority.authorityPath, certificatePath: files.certificate,
        keyPath: files.key)
    ).connect()
    #expect(
      pair.link.peerNames == ["worker-7.example.org", "spiffe://kdn/worker/7", "CN=worker 7"])
  }

  @Test("fails for a client without a certificate, or with one from elsewhere", arguments: [0, 1])
  func refusesStrangeClient(certificates: Int) throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let stranger = try TestAuthority()
    let files = certificates > 0 ? try stranger.sign("client") : nil
    let pair = try SecurePair(
      TLSServer(
        certificatePath: own.certificate, keyPath: own.key, clientCAPath: authority.authorityPath),
      TLSClient(
        authoritiesPath: authority.authorityPath, certificatePath: files?.certificate,
        keyPath: files?.key))
    pair.shakeHands()
    #expect(pair.link.handshake == .failed)
    #expect(pair.link.peerNames.isEmpty)
    let words = certificates > 0 ? "certificate verify failed" : "did not return a certificate"
    #expect(pair.link.handshakeFailure.contains(words))
    #expect(pair.clientReceive().isEmpty)
    #expect(pair.client.failure.contains("alert"))
  }

  @Test("that is cut off in the middle ends the link", arguments: [0, 1, 5, 100, 250])
  func endsInTheMiddle(bytes: Int) throws {
    let pair = try SecurePair()
    let aside = try SocketPair()
    let client = try TLSClient().makeChannel(on: aside.second, host: "localhost")
    #expect(client.shakeHands() == .wantsRead)
    let hello = aside.read(from: aside.first)
    try #require(hello.count > 250)
    pair.sockets.write(Array(hello.prefix(bytes)), to: pair.sockets.second)
    #expect(pair.receive(16) == nil)
    #expect(pair.link.handshake == .underWay)
    shutdown(pair.sockets.second, Int32(SHUT_RDWR))
    var buffer = [UInt8](repeating: 0, count: 16)
    #expect(buffer.withUnsafeMutableBytes { pair.link.receive(into: $0) } == .ended)
    #expect(pair.link.handshake == .failed)
  }

  @Test("holds back what is queued, and does not ask for room to write meanwhile")
  func holdsBackMessages() throws {
    let pair = try SecurePair()
    pair.link.send([1, 2, 3], isUrgent: true)
    #expect(pair.link.queuedBytes == 3)
    #expect(!pair.link.wantsToWrite)
    #expect(pair.link.flush())
    #expect(pair.link.queuedBytes == 3)
    _ = try pair.connect()
    #expect(pair.link.wantsToWrite)
    #expect(pair.link.flush())
    #expect(!pair.link.wantsToWrite)
    #expect(pair.link.sentBytes == 3)
    #expect(pair.clientReceive() == [1, 2, 3])
  }

  @Test("leaves nothing behind, a thousand times")
  func leaksNothing() throws {
    let authority = try TestAuthority()
    let own = try authority.sign("server")
    let other = try authority.sign("client")
    let server = try TLSServer(
      certificatePath: own.certificate, keyPath: own.key, clientCAPath: authority.authorityPath)
    let client = try TLSClient(
      authoritiesPath: authority.authorityPath, certificatePath: other.certificate,
      keyPath: other.key)
    // What OpenSSL itself keeps is the leak sanitizer's to find, and the daemon's resident set's.
    final class Last { weak var channel: TLSChannel? }
    let last = Last()
    for _ in 0..<1000 {
      let pair = try SecurePair(server, client).connect()
      #expect(last.channel == nil)
      last.channel = pair.link.channel
      #expect(last.channel != nil)
      #expect(pair.clientSend([1]))
      #expect(pair.receive(2) == [1])
    }
    #expect(last.channel == nil)
  }
}

extension SocketPair {
  /// Two ends of a connection over loopback TCP.
  convenience init(overTCP: ()) throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    let address = try SocketAddress(.tcp(host: "127.0.0.1", port: 0))
    guard address.withPointer({ bind(listener, $0, $1) }) == 0, listen(listener, 1) == 0 else {
      throw TransportError("bind", code: errno)
    }
    let port = SocketAddress.boundPort(of: listener)
    let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard try SocketAddress(.tcp(host: "127.0.0.1", port: port)).connect(client) == 0 else {
      throw TransportError("connect", code: errno)
    }
    let server = accept(listener, nil, nil)
    for number in [client, server] { _ = fcntl(number, F_SETFL, O_NONBLOCK) }
    self.init(owning: server, client)
  }
}
