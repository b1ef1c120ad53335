internal import KDNCore
internal import KDNTier
internal import Logging

/// Puts what the disk tier reports into the log.
final class DiskLog: Sendable {
  private let log: Logger
  private let clock: any MonotonicClock
  private let throttle = Guarded(ProgressThrottle())

  init(log: Logger, clock: any MonotonicClock) {
    self.log = log
    self.clock = clock
  }

  /// Writes one line; progress of a recovery at most once a second.
  func report(_ event: DiskEvent) {
    switch event {
    case .recovering(let path, let segments, let total, let objects):
      let now = clock.now()
      guard throttle.withLock({ $0.admits(path, now: now) }) else { return }
      log.info(
        "disk recovery",
        metadata: [
          "directory": "\(path)", "segments": "\(segments)", "of": "\(total)",
          "objects": "\(objects)",
        ])
    case .recovered(let path, let objects, let dropped, let milliseconds):
      log.info(
        "disk recovered",
        metadata: [
          "directory": "\(path)", "objects": "\(objects)", "dropped": "\(dropped)",
          "milliseconds": "\(milliseconds)",
        ])
    case .tornTail(let path, let file, let records):
      log.notice(
        "disk segment was open when the daemon ended",
        metadata: ["directory": "\(path)", "file": "\(file)", "records": "\(records)"])
    case .full(let path, let segments):
      log.warning(
        "disk is full below its configured size",
        metadata: ["directory": "\(path)", "segments": "\(segments)"])
    default: trouble(event)
    }
  }

  private func trouble(_ event: DiskEvent) {
    switch event {
    case .error(let path, let error):
      log.error("disk error", metadata: ["directory": "\(path)", "error": "\(error)"])
    case .quarantined(let path, let reason):
      log.error(
        "disk is no longer written", metadata: ["directory": "\(path)", "reason": "\(reason)"])
    case .lost(let path, let objects):
      log.error("disk is lost", metadata: ["directory": "\(path)", "objects": "\(objects)"])
    case .corrupt(let path, let file, let block):
      log.warning(
        "disk record is corrupt, dropped",
        metadata: ["directory": "\(path)", "file": "\(file)", "block": "\(block)"])
    case .distrusted(let path):
      log.error(
        "disk journal is damaged, all objects of the directory are dropped",
        metadata: ["directory": "\(path)"])
    case .journalFull(let path):
      log.error("disk journal is full", metadata: ["directory": "\(path)"])
    case .recovering, .recovered, .tornTail, .full: break
    }
  }
}

/// Lets progress through once a second per directory; the first at once.
struct ProgressThrottle {
  private static let pauseMilliseconds: UInt64 = 1000
  private var last: [String: Instant] = [:]

  /// Whether progress of `path` may be told at `now`.
  mutating func admits(_ path: String, now: Instant) -> Bool {
    if let before = last[path], now < before.advanced(milliseconds: Self.pauseMilliseconds) {
      return false
    }
    last[path] = now
    return true
  }
}
