import Foundation
import Glibc
import KDNTransport
import TestPrograms

/// A listener on loopback TCP whose one connection is inside TLS; it says what a test wrote down.
final class SecureServer: Sendable {
  /// Its certificate, which is its own authority.
  let certificatePath: String
  let port: UInt16
  private let folder: String
  private let listener: Int32

  /// Says `bytes` once the handshake is done, then drops what it hears; with `isSilent` it does not
  /// even shake hands.
  init(says bytes: [UInt8] = [], isSilent: Bool = false) throws {
    folder = NSTemporaryDirectory() + "kdn-client-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    certificatePath = "\(folder)/server.pem"
    let keyPath = "\(folder)/server.key"
    let openssl = try Program([
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
      "-keyout", keyPath, "-out", certificatePath, "-days", "2", "-subj", "/CN=localhost",
      "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ])
    openssl.wait()
    let security = try TLSServer(certificatePath: certificatePath, keyPath: keyPath)
    signal(SIGPIPE, SIG_IGN)

    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        precondition(bind(number, $0, size) == 0 && listen(number, 4) == 0, "cannot listen")
        getsockname(number, $0, &size)
      }
    }
    listener = number
    port = UInt16(bigEndian: address.sin_port)
    guard !isSilent else { return }
    Thread.detachNewThread { Self.serve(number, security, bytes) }
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    try? FileManager.default.removeItem(atPath: folder)
  }

  private static func serve(_ listener: Int32, _ security: TLSServer, _ bytes: [UInt8]) {
    let number = accept(listener, nil, nil)
    guard number >= 0 else { return }
    _ = fcntl(number, F_SETFL, O_NONBLOCK)
    let link = Link(owning: number, security: security)
    link.send(bytes, isUrgent: false)
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let events = Int16(POLLIN | (link.wantsToWrite ? Int32(POLLOUT) : 0))
      var entry = pollfd(fd: number, events: events, revents: 0)
      poll(&entry, 1, -1)
      guard buffer.withUnsafeMutableBytes({ link.receive(into: $0) }) != .ended, link.flush()
      else { return }
    }
  }
}
