internal import CPlatform
internal import Glibc
package import KDNCore

/// Accepts connections on one endpoint and hands each accepted socket on.
package final class Listener: LoopMember {
  /// Where the listener really listens, with the port that the kernel chose.
  package let endpoint: Endpoint
  private let socket: Descriptor
  private let accepted: (Int32, isolated Loop) -> Void
  private let troubled: (TransportError) -> Void
  private var token: UInt64?
  private var isPaused = false
  /// Whether the path of a Unix socket was made here, and is removed here.
  private let ownsPath: Bool

  /// Connections that may wait in the kernel for their turn.
  private static let backlog: Int32 = 1024
  /// Most sockets accepted before other members get their turn.
  private static let batch = 64

  /// Binds and listens on `endpoint`; nothing is accepted before `start`.
  ///
  /// A Unix path that a dead process left behind is taken over; one that is served is not.
  /// - Parameters:
  ///   - endpoint: where to listen.
  ///   - unixMode: permissions of a Unix socket's path; at no time does it have more.
  ///   - accepted: takes over each accepted socket, non-blocking, and must close it.
  ///   - troubled: hears of a failure to accept, such as too many open files.
  /// - Throws: the call that failed, with `endpoint` as its subject.
  package init(
    _ endpoint: Endpoint, unixMode: UInt32 = 0o660,
    accepted: @escaping (Int32, isolated Loop) -> Void,
    troubled: @escaping (TransportError) -> Void
  ) throws(TransportError) {
    let address = try SocketAddress(endpoint)
    let socket = try Descriptor("socket", kdn_socket(address.family), subject: "\(endpoint)")
    if case .unix(let path) = endpoint { try Self.clearStalePath(path, address) }
    try Self.setOption(socket.number, SOL_SOCKET, SO_REUSEADDR)
    try Self.bind(socket.number, to: address, endpoint, unixMode)
    guard listen(socket.number, Self.backlog) == 0 else {
      throw TransportError("listen", code: errno, subject: "\(endpoint)")
    }
    self.endpoint = Self.chosen(endpoint, socket.number)
    self.socket = socket
    ownsPath = true
    self.accepted = accepted
    self.troubled = troubled
  }

  /// Takes over a socket that listens already, such as one passed by the service manager.
  ///
  /// A path is not removed at the end: it belongs to whoever made the socket, and connections may
  /// wait at it for the next process.
  /// - Parameters:
  ///   - number: the listening socket; it is closed with the listener, or by a failure here.
  ///   - accepted: takes over each accepted socket, non-blocking, and must close it.
  ///   - troubled: hears of a failure to accept.
  /// - Throws: if it is no listening stream socket, or has an address of another kind.
  package init(
    adopting number: Int32, accepted: @escaping (Int32, isolated Loop) -> Void,
    troubled: @escaping (TransportError) -> Void
  ) throws(TransportError) {
    let socket = try Descriptor("adopt", number < 0 ? -1 : number)
    let subject = "socket \(number)"
    let listens = try Self.option(socket.number, SO_ACCEPTCONN, subject) != 0
    let isStream = try Self.option(socket.number, SO_TYPE, subject) == SOCK_STREAM.rawValue
    guard listens, isStream else { throw TransportError("listen", code: EINVAL, subject: subject) }
    guard let endpoint = SocketAddress.boundEndpoint(of: socket.number) else {
      throw TransportError("getsockname", code: EAFNOSUPPORT, subject: subject)
    }
    let flags = fcntl(socket.number, F_GETFL)
    guard flags >= 0, fcntl(socket.number, F_SETFL, flags | O_NONBLOCK) == 0,
      fcntl(socket.number, F_SETFD, FD_CLOEXEC) == 0
    else { throw TransportError("fcntl", code: errno, subject: subject) }
    self.endpoint = endpoint
    self.socket = socket
    ownsPath = false
    self.accepted = accepted
    self.troubled = troubled
  }

  /// Begins to accept on `loop`.
  ///
  /// - Throws: if the loop cannot watch the socket.
  package func start(on loop: isolated Loop) throws(TransportError) {
    token = try loop.watch(socket.number, for: self)
  }

  /// Stops accepting, and removes the path of a Unix socket that was made here.
  package func stop(on loop: isolated Loop) {
    guard let token else { return }
    loop.unwatch(token, socket.number)
    self.token = nil
    if ownsPath, case .unix(let path) = endpoint { _ = unsafe unlink(path) }
  }

  package func ready(readable: Bool, writable: Bool, on loop: isolated Loop) {
    for _ in 0..<Self.batch {
      let number = kdn_accept(socket.number)
      guard number < 0 else {
        accept(number, on: loop)
        continue
      }
      switch errno {
      case EAGAIN: return
      case EINTR, ECONNABORTED, EPROTO: continue
      default:
        // Out of descriptors or memory: the socket stays readable, so rest until the next tick.
        troubled(TransportError("accept4", code: errno, subject: "\(endpoint)"))
        pause(true, on: loop)
        return
      }
    }
  }

  package func tick(now: Instant, on loop: isolated Loop) -> Instant {
    if isPaused { pause(false, on: loop) }
    return .never
  }

  private func accept(_ number: Int32, on loop: isolated Loop) {
    if case .tcp = endpoint { Self.setNoDelay(number) }
    accepted(number, loop)
  }

  private func pause(_ paused: Bool, on loop: isolated Loop) {
    guard let token else { return }
    isPaused = paused
    loop.update(token, socket.number, readable: !paused, writable: false)
  }

  private static func setNoDelay(_ number: Int32) {
    var one: Int32 = 1
    _ = unsafe setsockopt(
      number, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
  }

  private static func setOption(
    _ number: Int32, _ level: Int32, _ option: Int32
  ) throws(TransportError) {
    var one: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe setsockopt(number, level, option, &one, size) == 0 else {
      throw TransportError("setsockopt", code: errno)
    }
  }

  /// Binds; the path of a Unix socket has its final permissions before anybody can connect.
  private static func bind(
    _ number: Int32, to address: SocketAddress, _ endpoint: Endpoint, _ unixMode: UInt32
  ) throws(TransportError) {
    // The path gets the socket's own permissions less the umask: never more than wanted.
    if address.family == AF_UNIX { _ = fchmod(number, unixMode & 0o600) }
    let bound = unsafe address.withPointer { unsafe Glibc.bind(number, $0, $1) }
    guard bound == 0 else { throw TransportError("bind", code: errno, subject: "\(endpoint)") }
    guard case .unix(let path) = endpoint else { return }
    guard unsafe chmod(path, unixMode) == 0 else {
      throw TransportError("chmod", code: errno, subject: path)
    }
  }

  private static func option(
    _ number: Int32, _ option: Int32, _ subject: String
  ) throws(TransportError) -> UInt32 {
    var value: UInt32 = 0
    var size = socklen_t(MemoryLayout<UInt32>.size)
    guard unsafe getsockopt(number, SOL_SOCKET, option, &value, &size) == 0 else {
      throw TransportError("getsockopt", code: errno, subject: subject)
    }
    return value
  }

  private static func clearStalePath(
    _ path: String, _ address: SocketAddress
  ) throws(TransportError) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      throw TransportError("bind", code: EADDRINUSE, subject: path)
    }
    let probe = try Descriptor("socket", kdn_socket(AF_UNIX), subject: path)
    let result = unsafe address.withPointer { unsafe connect(probe.number, $0, $1) }
    guard result != 0, errno == ECONNREFUSED else {
      throw TransportError("bind", code: EADDRINUSE, subject: path)
    }
    _ = unsafe unlink(path)
  }

  private static func chosen(_ endpoint: Endpoint, _ number: Int32) -> Endpoint {
    guard case .tcp(let host, _) = endpoint else { return endpoint }
    return .tcp(host: host, port: SocketAddress.boundPort(of: number))
  }
}
