internal import CPlatform
internal import Glibc
package import KDNCore

/// Where a listener listens: a TCP address or the path of a Unix socket.
package enum Endpoint: Hashable, Sendable, CustomStringConvertible {
  /// A numeric IPv4 or IPv6 address, or a host name, and a port (0 = the kernel chooses).
  case tcp(host: String, port: UInt16)
  /// A path in the file system.
  case unix(path: String)

  /// Longest path of a Unix socket, in bytes: `sun_path` with its closing zero.
  package static let unixPathBytesMax = 107

  /// Reads `HOST:PORT` or `[IPv6]:PORT`.
  ///
  /// - Throws: a fault that names `field` if the text has another form.
  package init(parsingTCP text: String, field: String) throws(FieldFault) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else {
      throw FieldFault(
        field, value: text.utf8.count, limit: 65535, "'\(text)' is not HOST:PORT")
    }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    guard !host.isEmpty else {
      throw FieldFault(field, value: 0, limit: 1, "'\(text)' has no host")
    }
    self = .tcp(host: host, port: port)
  }

  /// Reads the path of a Unix socket.
  ///
  /// - Throws: a fault that names `field` if the path is empty or too long for the kernel.
  package init(parsingUnix text: String, field: String) throws(FieldFault) {
    guard (1...Self.unixPathBytesMax).contains(text.utf8.count) else {
      throw FieldFault(
        field, value: text.utf8.count, limit: Self.unixPathBytesMax, "path is empty or too long")
    }
    self = .unix(path: text)
  }

  /// True if only this host can reach the endpoint.
  package var isLoopback: Bool {
    switch self {
    case .unix: true
    case .tcp(let host, _): host == "localhost" || host == "::1" || Self.isLoopbackIPv4(host)
    }
  }

  private static func isLoopbackIPv4(_ host: String) -> Bool {
    var address = in_addr()
    guard unsafe inet_pton(AF_INET, host, &address) == 1 else { return false }
    return UInt32(bigEndian: address.s_addr) >> 24 == 127
  }

  package var description: String {
    switch self {
    case .unix(let path): "unix://\(path)"
    case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
  }
}
