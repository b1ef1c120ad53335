internal import KDNControl
internal import KDNCore

/// What readiness is judged by; the judgement needs no clock and no lock.
struct ReadinessFacts: Sendable {
  /// A loop that has not answered for so long serves nobody.
  static let loopSilenceMillisecondsMax: UInt64 = 5000
  /// Less than this in one piece is no room: the smallest size that a slab hands out well.
  static let roomBytesMin = 64 << 10

  /// Whether the daemon is going away.
  var isDraining = false
  /// Addresses that are listened on.
  var listeners: [String] = []
  /// For each loop how long it owes an answer, in milliseconds.
  var loopSilence: [UInt64] = []
  /// The largest piece of memory that is free, in bytes.
  var freeBytes = 0
  /// Objects that could make room for others.
  var evictableObjects = 0
  /// Stores that are under way.
  var reservations = 0
  /// Objects that are pinned.
  var pins = 0
  /// nil without a disk tier.
  var disk: Disk?

  /// What is to be known of a disk tier.
  struct Disk: Sendable {
    /// Paths of all directories.
    var paths: [String]
    /// Paths of those that failed.
    var failed: [String] = []
    /// Whether all that is there is known.
    var isRecovered = true
  }

  /// What was found, in words.
  var report: ReadinessReport {
    let checks = [draining, listening, loops, memory, diskCheck, recovery].compactMap { $0 }
    return ReadinessReport(isReady: checks.allSatisfy(\.isOK), checks: checks)
  }

  private typealias Check = ReadinessReport.Check

  private var draining: Check {
    Check(
      name: "draining", isOK: !isDraining,
      detail: isDraining ? "the daemon is going away" : "the daemon stays")
  }

  private var listening: Check {
    let isListening = !isDraining && !listeners.isEmpty
    return Check(
      name: "listeners", isOK: isListening,
      detail: isListening ? listeners.joined(separator: ", ") : "nothing is listened on")
  }

  private var loops: Check {
    let stuck = loopSilence.indices.filter {
      loopSilence[$0] > Self.loopSilenceMillisecondsMax
    }
    guard let first = stuck.first else {
      return Check(name: "loops", isOK: true, detail: "\(loopSilence.count) loops answer")
    }
    return Check(
      name: "loops", isOK: false,
      detail: "\(stuck.count) of \(loopSilence.count) loops do not answer; "
        + "loop \(first) for \(loopSilence[first]) ms")
  }

  private var memory: Check {
    guard freeBytes < Self.roomBytesMin else {
      return Check(name: "memory", isOK: true, detail: "\(freeBytes) bytes are free in one piece")
    }
    guard evictableObjects == 0 else {
      return Check(
        name: "memory", isOK: true, detail: "full; \(evictableObjects) objects can make room")
    }
    return Check(
      name: "memory", isOK: false,
      detail: "full, and nothing can make room: \(reservations) stores under way, "
        + "\(pins) objects pinned, the rest leased")
  }

  private var diskCheck: Check? {
    guard let disk else { return nil }
    guard !disk.failed.isEmpty else {
      return Check(name: "disk", isOK: true, detail: "\(disk.paths.count) directories serve")
    }
    return Check(
      name: "disk", isOK: disk.failed.count < disk.paths.count,
      detail: "\(disk.failed.count) of \(disk.paths.count) directories failed: "
        + disk.failed.joined(separator: ", "))
  }

  private var recovery: Check? {
    guard let disk else { return nil }
    let detail =
      disk.isRecovered
      ? "all that is on disk is known"
      : "what is on disk is still being found out; what is not known yet is a miss"
    return Check(name: "recovery", isOK: true, detail: detail)
  }
}
