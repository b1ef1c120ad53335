internal import Glibc
internal import NIOCore

/// Why the HTTP endpoint could not listen.
package struct AdminStartError: Error, Sendable, CustomStringConvertible {
  /// The address that could not be had, as `host:port`.
  package let address: String
  /// The system's number of the error; 0 if it was none of the system's.
  package let errno: Int32
  private let reason: String

  /// Says why an address could not be had.
  init(_ address: String, _ error: any Error) {
    self.address = address
    errno = (error as? IOError)?.errnoCode ?? 0
    reason = "\(error)"
  }

  /// Whether the address is taken, not this machine's, or not allowed.
  package var isAddressTrouble: Bool {
    [EADDRINUSE, EADDRNOTAVAIL, EACCES].contains(errno)
  }

  package var description: String { "cannot listen on \(address): \(reason)" }
}
