internal import KDNCore

/// What one connection is doing, and until when it may.
///
/// Logic only: whoever holds it tells it the time, and closes the connection when a deadline has
/// passed.
struct ConnectionClock: Sendable {
  /// What the connection is doing.
  enum Phase: Equatable, Sendable {
    /// Waits for the first byte of a request.
    case idle
    /// Has the front of a request.
    case receiving
    /// Has a whole request and works on its answer.
    case answering
    /// Sends an answer that has no end of its own.
    case streaming
    /// Has sent its last answer and waits for the peer to hang up.
    case lingering
  }

  /// How long a peer may take to hang up after the last answer.
  static let lingerMilliseconds: UInt64 = 1000

  private(set) var phase: Phase
  /// When the present phase is over by force; nil if it ends by itself.
  private(set) var phaseDeadline: Instant?
  /// When a peer that reads nothing has done so for too long; nil while it reads.
  private(set) var stallDeadline: Instant?
  private let idleMilliseconds: UInt64
  private let requestMilliseconds: UInt64
  private var hasEarlyBytes = false

  /// Starts an idle connection.
  init(idleMilliseconds: UInt64, requestMilliseconds: UInt64, now: Instant) {
    self.idleMilliseconds = idleMilliseconds
    self.requestMilliseconds = requestMilliseconds
    phase = .idle
    phaseDeadline = now.advanced(milliseconds: idleMilliseconds)
  }

  /// The earlier of both deadlines.
  var deadline: Instant? {
    guard let phaseDeadline else { return stallDeadline }
    guard let stallDeadline else { return phaseDeadline }
    return min(phaseDeadline, stallDeadline)
  }

  /// Bytes came in.
  mutating func bytesArrived(now: Instant) {
    switch phase {
    case .idle: beginReceiving(now: now)
    case .answering: hasEarlyBytes = true
    case .receiving, .streaming, .lingering: break
    }
  }

  /// A request is here with all of its body.
  mutating func requestCompleted() {
    guard phase != .lingering else { return }
    phase = .answering
    phaseDeadline = nil
    hasEarlyBytes = false
  }

  /// The answer to it is one without an end.
  mutating func streamBegan() {
    guard phase == .answering else { return }
    phase = .streaming
  }

  /// The answer has been handed over; what came in meanwhile counts as the front of a request.
  mutating func answered(now: Instant) {
    guard phase != .lingering else { return }
    guard !hasEarlyBytes else { return beginReceiving(now: now) }
    phase = .idle
    phaseDeadline = now.advanced(milliseconds: idleMilliseconds)
  }

  /// No answer will follow.
  mutating func lingerBegan(now: Instant) {
    phase = .lingering
    phaseDeadline = now.advanced(milliseconds: Self.lingerMilliseconds)
  }

  /// The peer reads too slowly for what is sent, or has caught up.
  mutating func writabilityChanged(isWritable: Bool, now: Instant) {
    stallDeadline = isWritable ? nil : now.advanced(milliseconds: requestMilliseconds)
  }

  private mutating func beginReceiving(now: Instant) {
    phase = .receiving
    hasEarlyBytes = false
    phaseDeadline = now.advanced(milliseconds: requestMilliseconds)
  }
}
