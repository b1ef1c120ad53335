internal import KDNControl
package import KDNCore
package import Logging

/// Who ordered what, and what came of it: one log line for each order that would change something.
///
/// Never holds tokens, nor names of keys or contents; documents it names, and rules on them.
package final class AuditLog: Sendable {
  /// The label of its logger; no log level hides what it writes.
  package static let label = "kdnd.audit"

  private let log: Logger
  private let clock: any MonotonicClock
  private let throttle = Guarded(RefusalThrottle())

  /// Writes to `log`, which should have the label `AuditLog.label`.
  package init(
    log: Logger = Logger(label: AuditLog.label), clock: any MonotonicClock = SystemClock()
  ) {
    self.log = log
    self.clock = clock
  }

  /// Notes an order that was carried out; `details` tell on what, and what came of it.
  func granted(
    _ order: String, by who: AdministratorName, _ details: [(name: String, value: String)]
  ) {
    write(order, "granted", by: who, from: who.origin, details)
  }

  /// Notes an order that was refused or failed.
  func refused(
    _ order: String, by who: AdministratorName, _ fault: ControlFault,
    _ details: [(name: String, value: String)]
  ) {
    write(order, "refused", by: who, from: who.origin, details + Self.reason(fault))
  }

  /// Notes an order that was turned away at the door; what comes too often is counted and told
  /// with the next one that is let through.
  func turnedAway(
    _ order: String, by who: AdministratorName?, from origin: String, _ fault: ControlFault
  ) {
    guard let silenced = throttle.withLock({ $0.admit(now: clock.now()) }) else { return }
    let details = silenced > 0 ? [("silenced", "\(silenced)")] : []
    write(order, "refused", by: who, from: origin, details + Self.reason(fault))
  }

  private static func reason(_ fault: ControlFault) -> [(name: String, value: String)] {
    let field = fault.field.isEmpty ? [] : [("field", fault.field)]
    return [("code", fault.code.rawValue)] + field + [("reason", fault.message)]
  }

  private func write(
    _ order: String, _ result: String, by who: AdministratorName?, from origin: String,
    _ details: [(name: String, value: String)]
  ) {
    var metadata: Logger.Metadata = ["result": "\(result)", "who": "\(who?.text ?? "")"]
    if !origin.isEmpty { metadata["from"] = "\(origin)" }
    for (name, value) in details { metadata[name] = "\(value)" }
    log.notice("\(order)", metadata: metadata)
  }
}

/// Lets refusals through ten a second at most, so that guessing does not fill the log.
struct RefusalThrottle: Sendable {
  /// Lines in one window.
  static let countMax = 10
  /// Length of a window.
  static let windowMilliseconds: UInt64 = 1000

  private var end: Instant?
  private var count = 0
  private var silenced = 0

  /// nil if this one is to be silent; else how many were since the last one that was not.
  mutating func admit(now: Instant) -> Int? {
    if end.map({ now >= $0 }) ?? true {
      end = now.advanced(milliseconds: Self.windowMilliseconds)
      count = 0
    }
    guard count < Self.countMax else {
      silenced += 1
      return nil
    }
    count += 1
    defer { silenced = 0 }
    return silenced
  }
}
