internal import CPlatform
internal import Glibc

/// Sends datagrams to a socket that a supervisor named; what it does not take at once is lost.
package final class NotifySocket: Sendable {
  /// Longest datagram.
  package static let bytesMax = 4096
  /// Longest name: `sun_path` with its closing zero.
  private static let nameBytesMax = 107

  private let socket: Descriptor
  /// A `sockaddr_un` as far as the name goes.
  private let address: [UInt8]

  /// Prepares to send to `name`: the path of a Unix socket, or `@` and an abstract name.
  ///
  /// - Throws: `sendto` with EINVAL for what cannot be a name, `socket` if the kernel gives none.
  package init(_ name: String) throws(TransportError) {
    let bytes = Array(name.utf8)
    guard let first = bytes.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@"),
      (2...Self.nameBytesMax).contains(bytes.count), !bytes.contains(0)
    else { throw TransportError("sendto", code: EINVAL, subject: name) }
    let family = sa_family_t(AF_UNIX)
    // An abstract name begins with a zero byte and ends with the address.
    let path = first == UInt8(ascii: "@") ? [0] + bytes.dropFirst() : bytes + [0]
    address = [UInt8(family & 255), UInt8(family >> 8)] + path
    let number = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    socket = try Descriptor("socket", number, subject: name)
  }

  /// Sends `text`, which must have at most `bytesMax` bytes; false if it was not taken.
  @discardableResult
  package func send(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    precondition(bytes.count <= Self.bytesMax, "a notice is short")
    let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
    let sent = unsafe address.withUnsafeBytes { name in
      guard let base = name.baseAddress else { return -1 }
      let pointer = unsafe base.assumingMemoryBound(to: sockaddr.self)
      return unsafe bytes.withUnsafeBytes {
        unsafe sendto(
          socket.number, $0.baseAddress, $0.count, flags, pointer, socklen_t(name.count))
      }
    }
    return sent == bytes.count
  }
}
