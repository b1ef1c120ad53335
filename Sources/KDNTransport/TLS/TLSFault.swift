internal import COpenSSL
internal import Glibc

/// TLS cannot be set up: which file, and why; never what is in a key.
package struct TLSFault: Error, Equatable, Sendable, CustomStringConvertible {
  /// What the file was to be.
  package enum Part: String, Sendable {
    /// The certificate, with those that lead from it to its authority.
    case certificate
    /// The certificate's private key.
    case key
    /// The certificates of the authorities that the other side's certificate must come from.
    case authorities
    /// The library itself, or a name that is asked for.
    case library
  }

  /// What the file was to be.
  package let part: Part
  /// The file's path; empty if the library is at fault.
  package let path: String
  /// What is wrong.
  package let reason: String

  /// Creates a fault.
  package init(_ part: Part, path: String = "", _ reason: String) {
    self.part = part
    self.path = path
    self.reason = reason
  }

  /// Creates a fault from what OpenSSL queued last; the queue is empty afterwards.
  init(queued part: Part, path: String = "") {
    self.init(part, path: path, Self.queuedReason() ?? "the library does not say why")
  }

  package var description: String {
    path.isEmpty ? "TLS: \(reason)" : "TLS \(part.rawValue) \(path): \(reason)"
  }

  /// What OpenSSL queued last on this thread, in words, and empties the queue; nil if nothing.
  static func queuedReason() -> String? {
    let code = ERR_peek_last_error()
    defer { ERR_clear_error() }
    guard code != 0 else { return nil }
    guard let text = unsafe ERR_reason_error_string(code) else {
      return "error \(String(code, radix: 16))"
    }
    return unsafe String(cString: text)
  }

  /// Throws unless the file at `path` can be read.
  static func check(_ part: Part, path: String) throws(TLSFault) {
    let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else {
      throw TLSFault(part, path: path, unsafe String(cString: strerror(errno)))
    }
    _ = close(number)
  }
}
