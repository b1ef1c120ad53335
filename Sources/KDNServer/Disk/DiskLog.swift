internal import KDNCore
internal import KDNTier
internal import Logging

/// Puts what the disk tier reports into the log, and what an operator should know of into the
/// events.
final class DiskLog: Sendable {
  private let log: Logger
  private let clock: any MonotonicClock
  private let events: EventLog?
  private let throttle = Guarded(ProgressThrottle())

  /// `events`: nil to tell nobody.
  init(log: Logger, clock: any MonotonicClock, events: EventLog? = nil) {
    self.log = log
    self.clock = clock
    self.events = events
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
      events?.append(
        .recovered, "\(path): \(objects) objects found in \(milliseconds) ms, \(dropped) dropped")
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
    if let sentence = Sentence(event) { tell(sentence) }
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

  /// Adds an event; the same trouble of one directory at most once a second, since a device that
  /// fails does so with each of its requests.
  private func tell(_ sentence: Sentence) {
    let now = clock.now()
    let name = "\(sentence.path)\n\(sentence.kind)"
    guard let events, throttle.withLock({ $0.admits(name, now: now) }) else { return }
    events.append(.diskFault, "\(sentence.path): \(sentence.text)")
  }
}

/// What an operator is told of trouble with a directory.
private struct Sentence {
  let path: String
  let kind: String
  let text: String

  /// nil if it is no trouble.
  init?(_ event: DiskEvent) {
    switch event {
    case .error(let path, let error): self.init(path, "error", "\(error)")
    case .quarantined(let path, let reason):
      self.init(path, "quarantined", "no longer written: \(reason)")
    case .lost(let path, let objects): self.init(path, "lost", "lost with \(objects) objects")
    case .corrupt(let path, _, _):
      self.init(path, "corrupt", "an object was corrupt and is dropped")
    case .distrusted(let path):
      self.init(path, "distrusted", "the journal is damaged, all objects are dropped")
    case .journalFull(let path): self.init(path, "journal", "the journal is full")
    case .recovering, .recovered, .tornTail, .full: return nil
    }
  }

  private init(_ path: String, _ kind: String, _ text: String) {
    self.path = path
    self.kind = kind
    self.text = text
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
