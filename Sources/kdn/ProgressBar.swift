internal import KDNCore

/// How far long work is, as one line; pure, so that tests play the clock.
struct ProgressBar {
  /// Work of fewer bytes is over before anybody has read a line.
  static let totalBytesMin = 8 << 20
  private static let intervalMilliseconds: UInt64 = 100
  private static let cells = 24

  /// What is done, in a word.
  let title: String
  private let start: Instant
  private var nextLine: Instant

  /// Work that begins at `start`.
  init(_ title: String, start: Instant) {
    self.title = title
    self.start = start
    nextLine = start
  }

  /// The line when `done` of `total` bytes are behind; nil for little work, and if the last line is
  /// not old enough, which only the end of the work does not wait for.
  mutating func line(done: Int, of total: Int, now: Instant) -> String? {
    guard total >= Self.totalBytesMin, now >= nextLine || done >= total else { return nil }
    nextLine = now.advanced(milliseconds: Self.intervalMilliseconds)
    let part = Double(min(max(0, done), total)) / Double(total)
    let full = Int(part * Double(Self.cells))
    let bar =
      String(repeating: "#", count: full) + String(repeating: ".", count: Self.cells - full)
    let percent = String(Int(part * 100))
    let padded = String(repeating: " ", count: 3 - percent.count) + percent
    return "\(title) [\(bar)] \(padded) %  \(Text.bytes(done)) of \(Text.bytes(total))"
      + timeLeft(part, now)
  }

  /// What is left if the rest takes as long as what is behind; nothing before that can be said.
  private func timeLeft(_ part: Double, _ now: Instant) -> String {
    let seconds = Double(now.nanoseconds(since: start)) / 1e9
    guard part > 0, part < 1, seconds >= 1 else { return "" }
    let left = Int((seconds / part * (1 - part)).rounded(.up))
    return left < 60 ? "  \(left) s left" : "  \(left / 60) min \(left % 60) s left"
  }
}

/// A progress bar on standard error, if that is a terminal; else nothing is shown.
final class ProgressDisplay {
  private let clock = SystemClock()
  private let isShown = Terminal.isStandardError
  private var bar: ProgressBar
  private var isDrawn = false

  /// Work that begins now.
  init(_ title: String) { bar = ProgressBar(title, start: clock.now()) }

  /// So many bytes are behind.
  func show(_ done: Int, of total: Int) {
    guard isShown, let line = bar.line(done: done, of: total, now: clock.now()) else { return }
    isDrawn = true
    let room = max(1, Terminal.size(of: .standardError).columns - 1)
    Output.status("\r\(line.prefix(room))\u{1B}[K")
  }

  /// Takes the bar away, so that what follows stands on a line of its own.
  func end() {
    if isDrawn { Output.status("\r\u{1B}[K") }
    isDrawn = false
  }
}
