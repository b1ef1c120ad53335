internal import CPlatform
internal import Glibc

/// Whom a connection comes from, as far as attempts are counted per origin.
///
/// Of an IPv6 address only the network counts: whoever has one address has the other 2^64 too.
package enum PeerAddress: Hashable, Sendable, CustomStringConvertible {
  /// An IPv4 address, also one that came in IPv6's clothes.
  case ipv4(UInt32)
  /// The upper 64 bits of an IPv6 address.
  case ipv6Prefix(UInt64)
  /// A process of this user on this machine, over a Unix socket.
  case user(UInt32)
  /// The connection is gone, or of another kind.
  case unknown

  /// Asks the kernel where the connected socket `number` leads.
  package init(ofSocket number: Int32) {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    self = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      let raw = UnsafeMutableRawPointer(pointer)
      let address = unsafe raw.assumingMemoryBound(to: sockaddr.self)
      guard unsafe getpeername(number, address, &length) == 0 else { return .unknown }
      switch unsafe Int32(address.pointee.sa_family) {
      case AF_UNIX: return Self.user(behind: number)
      case AF_INET:
        let peer = unsafe raw.assumingMemoryBound(to: sockaddr_in.self).pointee
        return .ipv4(UInt32(bigEndian: peer.sin_addr.s_addr))
      case AF_INET6:
        // Safe because: the address lies at byte 8 of the structure, with 16 bytes.
        let upper = unsafe UInt64(bigEndian: raw.load(fromByteOffset: 8, as: UInt64.self))
        let lower = unsafe UInt64(bigEndian: raw.load(fromByteOffset: 16, as: UInt64.self))
        return PeerAddress(upper: upper, lower: lower)
      default: return .unknown
      }
    }
  }

  /// Who made the other end of a Unix socket.
  private static func user(behind number: Int32) -> PeerAddress {
    // The kernel's structure: process, user and group.
    var credentials: (pid: Int32, uid: UInt32, gid: UInt32) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    let result = unsafe getsockopt(number, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
    return result == 0 ? .user(credentials.uid) : .unknown
  }

  /// An IPv6 address of two halves.
  init(upper: UInt64, lower: UInt64) {
    let isMapped = upper == 0 && lower >> 32 == 0xFFFF
    self = isMapped ? .ipv4(UInt32(truncatingIfNeeded: lower)) : .ipv6Prefix(upper)
  }

  /// `192.0.2.7`, `2001:db8:0:1::/64`, `uid 1000` or `unknown`.
  package var description: String {
    switch self {
    case .ipv4(let address):
      return stride(from: 24, through: 0, by: -8).map { String(address >> UInt32($0) & 255) }
        .joined(separator: ".")
    case .ipv6Prefix(let upper):
      return stride(from: 48, through: 0, by: -16)
        .map { String(upper >> UInt64($0) & 0xFFFF, radix: 16) }.joined(separator: ":") + "::/64"
    case .user(let user): return "uid \(user)"
    case .unknown: return "unknown"
    }
  }
}
