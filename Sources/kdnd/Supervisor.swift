import Dispatch
import KDNCore
import KDNServer
import KDNTransport

/// What systemd, or whoever speaks its protocol, said to this process, and what it is told.
final class Supervisor: Sendable {
  /// Variables that concern this process only.
  private static let variables = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]
  /// While it starts, the supervisor hears every few seconds that it goes on, but not for ever.
  private static let noticeSeconds = 5
  private static let noticesMax = 360
  private static let noticeMilliseconds: UInt64 = 30_000

  /// What the supervisor is told through; it may be nobody.
  let notifier: Notifier
  /// Sockets that the supervisor listens on.
  let passed: PassedSockets
  private let watchdogMicroseconds: UInt64?
  private let starting = Guarded<RepeatingTimer?>(nil)
  private let watchdog = Guarded<Watchdog?>(nil)

  /// Reads what concerns this process and removes it from the process's environment.
  ///
  /// - Throws: a fault that names the variable at fault.
  init(environment: [String: String], pid: Int32) throws(FieldFault) {
    ProcessVariables.remove(Self.variables + PassedSockets.variables)
    notifier = Notifier(try Self.socket(environment["NOTIFY_SOCKET"]))
    passed = try PassedSockets(environment: environment, pid: pid)
    watchdogMicroseconds = try Self.watchdog(environment, pid)
  }

  /// Tells that the start goes on, until `started`.
  func start() {
    let left = Countdown(Self.noticesMax)
    let timer = RepeatingTimer(every: .seconds(Self.noticeSeconds)) { [notifier] in
      guard left.take() else { return }
      notifier.starting("taking memory and reading disks", milliseconds: Self.noticeMilliseconds)
    }
    starting.withLock { $0 = timer }
  }

  /// Tells that the daemon serves, and from now on that its loops live.
  func started(_ status: String, ping: @escaping Watchdog.Ping) {
    endStart()
    notifier.ready(status)
    guard let watchdogMicroseconds else { return }
    let dog = Watchdog(ping: ping) { [notifier] in notifier.alive() }
    watchdog.withLock { $0 = dog }
    dog.start(microseconds: watchdogMicroseconds)
  }

  /// Tells that the daemon drains, which ends within `milliseconds`.
  func stopping(milliseconds: UInt64) {
    endStart()
    notifier.stopping("draining", milliseconds: milliseconds)
  }

  private func endStart() {
    starting.withLock { timer in
      timer?.stop()
      timer = nil
    }
  }

  private static func socket(_ name: String?) throws(FieldFault) -> NotifySocket? {
    guard let name, !name.isEmpty else { return nil }
    do {
      return try NotifySocket(name)
    } catch {
      throw FieldFault("NOTIFY_SOCKET", value: name.utf8.count, limit: 107, "\(error)")
    }
  }

  private static func watchdog(
    _ environment: [String: String], _ pid: Int32
  ) throws(FieldFault) -> UInt64? {
    guard let text = environment["WATCHDOG_USEC"],
      environment["WATCHDOG_PID"].map({ Int32($0) == pid }) ?? true
    else { return nil }
    guard let microseconds = UInt64(text), microseconds > 0 else {
      throw FieldFault("WATCHDOG_USEC", value: text.utf8.count, limit: 0, "'\(text)' is no time")
    }
    return microseconds
  }
}

/// A number of times that something may still happen.
private final class Countdown: Sendable {
  private let left: Guarded<Int>

  init(_ count: Int) { left = Guarded(count) }

  func take() -> Bool {
    left.withLock { left in
      left -= 1
      return left >= 0
    }
  }
}
