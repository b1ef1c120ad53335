internal import CPlatform
internal import Glibc

/// Listens on a free port of 127.0.0.1 for a child that calls back.
struct LoopbackListener: ~Copyable {
  private let descriptor: Int32
  /// The port that the kernel chose.
  let port: UInt16

  private static let acceptSeconds = 10

  /// Starts to listen for up to `backlog` connections at once.
  ///
  /// - Throws: the system call that failed.
  init(backlog: Int) throws(BenchError) {
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    descriptor = socket(AF_INET, kind, 0)
    guard descriptor >= 0 else { throw .last("socket") }
    guard let port = Self.bind(descriptor), listen(descriptor, Int32(clamping: backlog)) == 0 else {
      let error = BenchError.last("listen")
      _ = Glibc.close(descriptor)
      throw error
    }
    self.port = port
    // Accepting obeys the time of receiving: a child that dies at once must not hang its parent.
    var limit = timeval(tv_sec: Self.acceptSeconds, tv_usec: 0)
    let length = socklen_t(MemoryLayout<timeval>.size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, length)
  }

  deinit { _ = Glibc.close(descriptor) }

  /// Waits for the next connection.
  ///
  /// - Throws: `system` if none came in time.
  func accept(target: String) throws(BenchError) -> PlainSocket {
    let accepted = Glibc.accept(descriptor, nil, nil)
    guard accepted >= 0 else { throw .last("accept") }
    return PlainSocket(owning: accepted, target: target)
  }

  private static func bind(_ descriptor: Int32) -> UInt16? {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    return unsafe withUnsafeMutablePointer(to: &address) { pointer in
      let generic = unsafe UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: sockaddr.self)
      guard unsafe Glibc.bind(descriptor, generic, length) == 0,
        unsafe getsockname(descriptor, generic, &length) == 0
      else { return nil }
      return UInt16(bigEndian: unsafe pointer.pointee.sin_port)
    }
  }
}
