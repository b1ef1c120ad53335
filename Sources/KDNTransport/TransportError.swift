internal import Glibc

/// A system call failed: which one, with which errno, on what.
package struct TransportError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The call, for example `bind`.
  package let call: String
  /// The errno it left.
  package let code: Int32
  /// What it was done to, for example an address.
  package let subject: String

  /// Creates an error for a call that left `code` in errno.
  package init(_ call: String, code: Int32, subject: String = "") {
    self.call = call
    self.code = code
    self.subject = subject
  }

  /// True if an address was already taken or may not be used here.
  package var isAddressTrouble: Bool {
    code == EADDRINUSE || code == EADDRNOTAVAIL || code == EACCES
  }

  package var description: String {
    let reason = unsafe String(cString: strerror(code))
    return subject.isEmpty ? "\(call): \(reason)" : "\(call) \(subject): \(reason)"
  }
}
