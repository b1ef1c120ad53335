internal import Glibc

/// Who made the other end of a Unix socket, by the kernel's word.
package struct PeerCredentials: Hashable, Sendable, CustomStringConvertible {
  /// The process; 0 if it lives where this process sees no numbers of.
  package let pid: Int32
  /// The user; the kernel's overflow user if it has no number here.
  package let uid: UInt32
  /// The group.
  package let gid: UInt32

  /// Names a process.
  package init(pid: Int32, uid: UInt32, gid: UInt32) {
    self.pid = pid
    self.uid = uid
    self.gid = gid
  }

  /// Asks the kernel about the connected socket `number`; nil if it is no Unix socket.
  package init?(ofSocket number: Int32) {
    // The kernel answers for other sockets too, with nobody.
    var domain: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    let asked = unsafe getsockopt(number, SOL_SOCKET, SO_DOMAIN, &domain, &length)
    guard asked == 0, domain == AF_UNIX else { return nil }
    // The kernel's structure: process, user and group.
    var credentials: (pid: Int32, uid: UInt32, gid: UInt32) = (0, 0, 0)
    length = socklen_t(MemoryLayout.size(ofValue: credentials))
    let result = unsafe getsockopt(number, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
    guard result == 0 else { return nil }
    self.init(pid: credentials.pid, uid: credentials.uid, gid: credentials.gid)
  }

  package var description: String { "pid \(pid) uid \(uid) gid \(gid)" }
}
