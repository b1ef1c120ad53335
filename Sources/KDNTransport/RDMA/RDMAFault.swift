internal import Glibc
package import KDNCore

/// Why RDMA cannot be used, or why a connection over it is over.
package enum RDMAFault: Error, Equatable, Sendable, CustomStringConvertible {
  /// The kernel or the libraries have no RDMA: the call that told, with its errno.
  case noDriver(call: String, code: Int32)
  /// There is support, but no device.
  case noDevice
  /// A call failed with an errno, on what.
  case system(call: String, code: Int32, subject: String)
  /// The other side said no, or nobody listens there.
  case refused(String)
  /// The other side introduced itself in a way that does not fit.
  case handshake(FieldFault)
  /// A work request failed, with the device's word for it.
  case broken(String)
  /// The other side broke the rules of the stream.
  case violation(FieldFault)
  /// The other side left, or this one did.
  case disconnected
  /// The device went away.
  case deviceRemoved
  /// Time ran out.
  case deadline

  /// True if this machine has no RDMA at all, so that trying again is of no use.
  package var isUnavailable: Bool {
    switch self {
    case .noDriver, .noDevice: true
    default: false
    }
  }

  package var description: String {
    switch self {
    case .noDriver(let call, let code): "no RDMA here: \(call): \(Self.text(code))"
    case .noDevice: "no RDMA device"
    case .system(let call, let code, let subject):
      subject.isEmpty ? "\(call): \(Self.text(code))" : "\(call) \(subject): \(Self.text(code))"
    case .refused(let reason): "refused: \(reason)"
    case .handshake(let fault): "handshake: \(fault)"
    case .broken(let status): "broken: \(status)"
    case .violation(let fault): "the other side broke the rules: \(fault)"
    case .disconnected: "disconnected"
    case .deviceRemoved: "the device was removed"
    case .deadline: "no time left"
    }
  }

  private static func text(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }

  /// The fault of a call that has just returned -1, or nil, and left errno.
  static func last(_ call: String, _ subject: String = "") -> RDMAFault {
    .system(call: call, code: errno, subject: subject)
  }

  /// The fault of a call that returned `result`: -1 with errno, or an errno of either sign.
  static func of(_ result: Int32, _ call: String, _ subject: String = "") -> RDMAFault {
    .system(call: call, code: result == -1 ? errno : abs(result), subject: subject)
  }
}
