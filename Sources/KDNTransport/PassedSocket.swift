internal import CPlatform
internal import Glibc

/// A socket that a supervisor listens on and handed to this process, checked.
package struct PassedSocket: Sendable {
  /// The kernel's number; whoever takes the socket over must close it.
  package let number: Int32
  /// Where it listens.
  package let endpoint: Endpoint

  /// Number of the first descriptor that is passed.
  package static let firstNumber: Int32 = 3

  /// Looks at an open descriptor, and lets it neither block nor outlive an `exec`.
  ///
  /// - Throws: `fcntl` if it is not open, `getsockopt` with the reason as errno if it is no stream
  ///   socket that listens, `getsockname` for an address family other than IP and Unix.
  package init(number: Int32) throws(TransportError) {
    let subject = "passed descriptor \(number)"
    let flags = fcntl(number, F_GETFL)
    guard flags >= 0, fcntl(number, F_SETFL, flags | O_NONBLOCK) == 0,
      fcntl(number, F_SETFD, FD_CLOEXEC) == 0
    else { throw TransportError("fcntl", code: errno, subject: subject) }
    let type = try Self.option(SO_TYPE, number, subject)
    guard type == Int32(SOCK_STREAM.rawValue) else {
      throw TransportError("getsockopt", code: EPROTOTYPE, subject: "\(subject), no stream socket")
    }
    guard try Self.option(SO_ACCEPTCONN, number, subject) != 0 else {
      throw TransportError("getsockopt", code: ENOTCONN, subject: "\(subject), does not listen")
    }
    guard let endpoint = SocketAddress.boundEndpoint(of: number) else {
      throw TransportError("getsockname", code: EAFNOSUPPORT, subject: subject)
    }
    self.number = number
    self.endpoint = endpoint
  }

  private static func option(
    _ option: Int32, _ number: Int32, _ subject: String
  ) throws(TransportError) -> Int32 {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe getsockopt(number, SOL_SOCKET, option, &value, &length) == 0 else {
      throw TransportError("getsockopt", code: errno, subject: subject)
    }
    return value
  }
}
