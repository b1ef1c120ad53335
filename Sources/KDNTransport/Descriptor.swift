internal import Glibc

/// Owns a file descriptor and closes it once.
package struct Descriptor: ~Copyable, Sendable {
  /// The kernel's number.
  package let number: Int32

  /// Takes over `number`, which must be open and owned by nobody else.
  package init(owning number: Int32) {
    precondition(number >= 0, "a descriptor is never negative")
    self.number = number
  }

  /// Takes over the result of `call`; throws with errno if it failed.
  package init(_ call: String, _ result: Int32, subject: String = "") throws(TransportError) {
    guard result >= 0 else { throw TransportError(call, code: errno, subject: subject) }
    number = result
  }

  /// Gives the number away without closing it.
  package consuming func release() -> Int32 {
    let released = number
    discard self
    return released
  }

  deinit { _ = close(number) }
}
