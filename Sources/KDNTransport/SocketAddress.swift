internal import CPlatform
internal import Glibc

/// An endpoint in the kernel's form.
package struct SocketAddress {
  private let storage: [UInt8]
  /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
  package let family: Int32

  /// Resolves `endpoint`; a host name gives its first address.
  ///
  /// - Throws: `getaddrinfo` if the host has no address.
  package init(_ endpoint: Endpoint) throws(TransportError) {
    switch endpoint {
    case .unix(let path):
      family = AF_UNIX
      storage = Self.unix(path)
    case .tcp(let host, let port): (family, storage) = try Self.resolve(host, port)
    }
  }

  /// Connects the socket `number`; 0, or -1 with errno set: `EINPROGRESS` if it does not block.
  package func connect(_ number: Int32) -> Int32 {
    unsafe withPointer { unsafe Glibc.connect(number, $0, $1) }
  }

  /// Lends the address to a system call.
  func withPointer(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    unsafe storage.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return -1 }
      return unsafe body(base.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
    }
  }

  /// The port that a bound TCP socket has, 0 if it has none.
  static func boundPort(of number: Int32) -> UInt16 {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      let address = unsafe UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: sockaddr.self)
      guard unsafe getsockname(number, address, &length) == 0 else { return 0 }
      // Safe because: IPv4 and IPv6 addresses both keep the port in bytes 2 and 3.
      return UInt16(
        bigEndian: unsafe UnsafeRawPointer(pointer).load(fromByteOffset: 2, as: UInt16.self))
    }
  }

  /// Where a bound socket is: an address in digits and its port, or a path; nil for a socket of
  /// another family, without a path, or with an abstract one.
  package static func boundEndpoint(of number: Int32) -> Endpoint? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      let raw = UnsafeMutableRawPointer(pointer)
      let address = unsafe raw.assumingMemoryBound(to: sockaddr.self)
      guard unsafe getsockname(number, address, &length) == 0 else { return nil }
      switch unsafe Int32(address.pointee.sa_family) {
      case AF_INET, AF_INET6:
        guard let host = unsafe host(address, length) else { return nil }
        return .tcp(host: host, port: boundPort(of: number))
      case AF_UNIX:
        let bytes = unsafe UnsafeRawBufferPointer(start: raw, count: Int(length))
        let path = unsafe bytes.dropFirst(MemoryLayout<sa_family_t>.size).prefix { $0 != 0 }
        return unsafe path.isEmpty ? nil : .unix(path: String(decoding: path, as: UTF8.self))
      default: return nil
      }
    }
  }

  private static func host(_ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> String? {
    let capacity = Int(NI_MAXHOST)
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity) { text in
      let result = unsafe getnameinfo(
        address, length, text.baseAddress, socklen_t(capacity), nil, 0, NI_NUMERICHOST)
      guard result == 0, let start = text.baseAddress else { return nil }
      return unsafe String(cString: start)
    }
  }

  private static func unix(_ path: String) -> [UInt8] {
    let family = sa_family_t(AF_UNIX)
    return [UInt8(family & 255), UInt8(family >> 8)] + Array(path.utf8) + [0]
  }

  private static func resolve(
    _ host: String, _ port: UInt16
  ) throws(TransportError) -> (Int32, [UInt8]) {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_NUMERICSERV | AI_PASSIVE
    var list: UnsafeMutablePointer<addrinfo>?
    let result = unsafe getaddrinfo(host, String(port), &hints, &list)
    guard result == 0, let first = unsafe list else {
      throw TransportError("getaddrinfo", code: EADDRNOTAVAIL, subject: "\(host):\(port)")
    }
    defer { unsafe freeaddrinfo(list) }
    let bytes = unsafe UnsafeRawBufferPointer(
      start: first.pointee.ai_addr, count: Int(first.pointee.ai_addrlen))
    return unsafe (first.pointee.ai_family, Array(bytes))
  }
}
