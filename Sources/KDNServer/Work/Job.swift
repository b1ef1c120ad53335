internal import KDNCore
internal import KDNPool

/// One piece of work in the queue; what it asks for is its submitter's and its worker's business.
struct Job: Sendable {
  /// How a job ended.
  enum Outcome: Equatable, Sendable, CaseIterable {
    case done
    case failed
    case cancelled
    case expired
  }

  /// Where a job is in its life.
  enum State: Equatable, Sendable {
    /// Waits for a worker.
    case queued
    /// A connection has it, and must renew its lease of `leaseMilliseconds` before `leaseEnds`.
    case running(OwnerID, leaseEnds: Instant, leaseMilliseconds: UInt64)
    /// Over, since `at`.
    case ended(Outcome, at: Instant)
  }

  /// Unique in its namespace and run of the daemon.
  let id: UInt64
  /// What kind of worker it is for.
  let kind: String
  /// When it is of no use any more.
  let deadline: Instant
  /// How often it may be taken.
  let attemptsMax: Int
  /// Its place in the queue; one that was given back keeps it.
  var place: UInt64
  /// What its worker is given; empty once it is over.
  var payload: [UInt8]
  var state = State.queued
  /// How often it was taken.
  var attempts = 0
  /// How far its worker has come, in thousandths.
  var progressPermille = 0
  /// Why it failed, or why it was given back last.
  var reason = ""
  /// What its worker made of it.
  var result: [UInt8] = []

  /// Whether nothing more will happen to it.
  var isOver: Bool { if case .ended = state { true } else { false } }

  /// Memory that it takes, about.
  var byteCount: Int { Self.fixedBytes + payload.count + result.count }

  /// What a job takes besides payload and result: a reason may have a kibibyte.
  static let fixedBytes = 1280
}
