package import KDNCore
package import KDNTransport

/// Tells systemd how the daemon is; says nothing where nobody listens.
///
/// Protocol: sd_notify(3). Text that comes from outside is cut to one short line.
package final class Notifier: Sendable {
  private static let statusBytesMax = 256

  private let socket: NotifySocket?
  private let clock: any MonotonicClock

  /// Talks to `socket`; nil: to nobody.
  package init(_ socket: NotifySocket?, clock: any MonotonicClock = SystemClock()) {
    self.socket = socket
    self.clock = clock
  }

  /// The daemon serves, or goes on after a reload.
  package func ready(_ status: String) { send("READY=1", Self.line(status)) }

  /// The configuration is being read anew; `ready` must follow, whatever comes of it.
  package func reloading() {
    send("RELOADING=1", "MONOTONIC_USEC=\(clock.now().nanoseconds / 1000)")
  }

  /// The daemon drains, which takes at most `milliseconds`.
  package func stopping(_ status: String, milliseconds: UInt64) {
    send("STOPPING=1", Self.line(status), Self.extending(milliseconds))
  }

  /// The start takes longer; the next notice follows within `milliseconds`.
  package func starting(_ status: String, milliseconds: UInt64) {
    send(Self.line(status), Self.extending(milliseconds))
  }

  /// All is well.
  package func alive() { send("WATCHDOG=1") }

  private func send(_ lines: String...) { _ = socket?.send(lines.joined(separator: "\n")) }

  private static func extending(_ milliseconds: UInt64) -> String {
    "EXTEND_TIMEOUT_USEC=\(milliseconds.multipliedReportingOverflow(by: 1000).partialValue)"
  }

  private static func line(_ status: String) -> String {
    let bytes = status.utf8.prefix(statusBytesMax).map { $0 < 0x20 ? UInt8(ascii: " ") : $0 }
    return "STATUS=" + String(decoding: bytes, as: UTF8.self)
  }
}
