package import KDNCore
package import KDNTransport

/// Who may share memory with the daemon, and how much.
package struct SharedMemorySettings: Hashable, Sendable {
  /// Most users that can be named.
  static let usersMax = 256
  /// Smallest and largest window, in bytes.
  static let windowBytes = 4096...1 << 34

  /// Whether it is offered on Unix sockets, where the kernel can seal memory.
  package var isWanted: Bool
  /// The users who may; none: whoever the socket's mode admits and the kernel can name.
  package var users: Set<UInt32>
  /// Largest window into which a client writes what it stores.
  package var window: ByteCount

  /// Whether a process of `user`, numbered `process`, may share memory.
  ///
  /// A process in another namespace has no number here, and its user may be anybody's:
  /// `unknownUser` is what the kernel says for users that it cannot name. Those must be listed.
  package func admits(user: UInt32, process: Int32, unknownUser: UInt32) -> Bool {
    guard users.isEmpty else { return users.contains(user) }
    return process != 0 && user != unknownUser
  }
}

/// Where clients of the fabric come in.
package struct RDMASettings: Hashable, Sendable {
  /// Addresses of devices to listen on.
  package var endpoints: [Endpoint]
  /// Whether tokens may travel over the fabric, which encrypts nothing.
  package var isTrusted: Bool
}
