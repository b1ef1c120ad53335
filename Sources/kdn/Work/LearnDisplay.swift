internal import KDNCore
internal import KDNWire

/// How far the learning of several texts is, on standard error, if that is a terminal.
final class LearnDisplay {
  private static let cells = 24
  /// A job that waits so long has probably no worker.
  private static let patienceMilliseconds: UInt64 = 5000

  private let clock = SystemClock()
  private let isShown = Terminal.isStandardError
  private let total: Int
  private var nothingRunsSince: Instant
  private var hasComplained = false
  private var isDrawn = false

  /// Texts that are learned from now on.
  init(total: Int) {
    self.total = total
    nothingRunsSince = clock.now()
  }

  /// Notes the state of a job that is not over; says once when none has been taken for long.
  func note(_ state: JobState) {
    let now = clock.now()
    if state == .running { nothingRunsSince = now }
    let patience = nothingRunsSince.advanced(milliseconds: Self.patienceMilliseconds)
    guard !hasComplained, now > patience else { return }
    hasComplained = true
    end()
    Output.complain(
      "no worker has taken the job yet; start one: python -m kdn.blending.worker --model FOLDER")
  }

  /// `done` texts are learned, those under way are `permille` thousandths of a text together.
  func show(done: Int, permille: Int) {
    guard isShown else { return }
    isDrawn = true
    let room = max(1, Terminal.size(of: .standardError).columns - 1)
    Output.status("\r\(Self.line(done: done, permille: permille, of: total).prefix(room))\u{1B}[K")
  }

  /// Takes the line away, so that what follows stands on a line of its own.
  func end() {
    if isDrawn { Output.status("\r\u{1B}[K") }
    isDrawn = false
  }

  /// The line when `done` of `total` texts are learned and others begun.
  static func line(done: Int, permille: Int, of total: Int) -> String {
    let thousandths = min(total * 1000, done * 1000 + max(0, permille))
    let full = total > 0 ? thousandths * cells / (total * 1000) : cells
    let bar = String(repeating: "#", count: full) + String(repeating: ".", count: cells - full)
    return "learn [\(bar)] \(done) of \(total)"
  }
}
