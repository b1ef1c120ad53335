package import KDNControl
package import KDNCore

/// The latest events of a daemon, for whoever asks what happened; any thread may add one.
package final class EventLog: Sendable {
  private let wallClock: any WallClock
  private let ring: Guarded<EventRing>

  /// Starts empty.
  package init(wallClock: any WallClock = SystemWallClock()) {
    self.wallClock = wallClock
    ring = Guarded(EventRing(countMax: EventRing.countMaxDefault))
  }

  /// Adds an event; `text` is one sentence without secrets, cut to `EventRing.textBytesMax`.
  package func append(_ kind: EventKind, by who: AdministratorName? = nil, _ text: String) {
    let now = wallClock.milliseconds()
    ring.withLock {
      $0.append(kind, by: who?.text ?? "", text, unixMilliseconds: now)
    }
  }

  /// Events with a serial above `serial`, oldest first, at most `limit`.
  package func events(after serial: UInt64, limit: Int) -> [DaemonEvent] {
    ring.withLock { $0.events(after: serial, limit: limit) }
  }

  /// How many there were, forgotten ones included.
  package var counts: EventCounts {
    ring.withLock { EventCounts(total: $0.newest, newest: $0.newest) }
  }
}

/// A bounded list of events that forgets the oldest.
struct EventRing: Sendable {
  /// How many a daemon remembers.
  static let countMaxDefault = 1024
  /// Longest text, in bytes of UTF-8.
  static let textBytesMax = 512

  private let countMax: Int
  private var slots: [DaemonEvent] = []
  /// Serial of the newest event; 0 before the first.
  private(set) var newest: UInt64 = 0

  init(countMax: Int) {
    precondition(countMax > 0, "a ring has room")
    self.countMax = countMax
  }

  /// Adds an event under the next serial.
  mutating func append(
    _ kind: EventKind, by administrator: String, _ text: String, unixMilliseconds: UInt64
  ) {
    newest += 1
    let event = DaemonEvent(
      serial: newest, unixMilliseconds: unixMilliseconds, kind: kind.rawValue,
      administrator: administrator, text: Self.cut(text))
    if slots.count < countMax { slots.append(event) } else { slots[place(of: newest)] = event }
  }

  /// Events above `serial` that are still known, oldest first, at most `limit`.
  func events(after serial: UInt64, limit: Int) -> [DaemonEvent] {
    let oldest = newest - UInt64(slots.count) + 1
    guard limit > 0, serial < newest else { return [] }
    let first = max(serial + 1, oldest)
    let last = min(newest, first + UInt64(limit) - 1)
    return (first...last).map { slots[place(of: $0)] }
  }

  private func place(of serial: UInt64) -> Int { Int((serial - 1) % UInt64(countMax)) }

  private static func cut(_ text: String) -> String {
    guard text.utf8.count > textBytesMax else { return text }
    var kept = ""
    var bytes = 0
    for character in text {
      bytes += character.utf8.count
      guard bytes <= textBytesMax - 3 else { break }
      kept.append(character)
    }
    return kept + "…"
  }
}
