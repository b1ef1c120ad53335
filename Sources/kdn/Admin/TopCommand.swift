internal import ArgumentParser
internal import Dispatch
internal import FoundationEssentials
internal import Glibc
internal import KDNControl
internal import Synchronization

/// `kdn top`: a live view in the terminal.
struct TopCommand: DaemonCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Shows what the daemon does, live; Ctrl-C ends it.",
    discussion: "With --json it writes one object of GET /stats per line.")

  @OptionGroup var admin: AdminOptions
  @Option(help: "Seconds between two looks.") var interval = 2.0
  @Option(help: "End after this many looks.") var count: Int?

  func validate() throws {
    guard interval >= 0.1, interval <= 3600 else {
      throw ValidationError("--interval takes 0.1 to 3600 seconds")
    }
    guard count ?? 1 >= 1 else { throw ValidationError("--count takes a positive number") }
  }

  func answer() throws -> Bool {
    let client = try admin.client()
    let screen = Screen()
    defer { screen.leave() }
    var before: DaemonReport?
    let count = count ?? .max
    for look in 1...count {
      let bytes = try client.bytes("/stats")
      if admin.json {
        Output.line(String(decoding: bytes, as: UTF8.self))
        guard look < count, pause(screen, redraw: {}) else { break }
      } else {
        let report = try ControlJSON.decode(DaemonReport.self, from: bytes)
        let frame = TopFrame(report, since: before)
        before = report
        screen.show(frame)
        guard look < count, pause(screen, redraw: { screen.show(frame) }) else { break }
      }
    }
    return true
  }

  /// Waits for the time of the next look; false if the user wants to end.
  private func pause(_ screen: Screen, redraw: () -> Void) -> Bool {
    let next = DispatchTime.now() + interval
    while true {
      switch screen.wait(until: next) {
      case .look: return true
      case .redraw: redraw()
      case .end: return false
      }
    }
  }
}

/// Standard output, and what the user wants by signals.
private final class Screen {
  /// What is to be done next.
  enum Wish {
    case look
    case redraw
    case end
  }

  private static let enter = "\u{1B}[?1049h\u{1B}[?25l"
  private static let leave = "\u{1B}[?25h\u{1B}[?1049l"
  private static let home = "\u{1B}[H"
  private static let clearLine = "\u{1B}[K"
  private static let clearBelow = "\u{1B}[J"

  private let signals: Signals
  private let sources: [any DispatchSourceSignal]
  private var hasEntered = false

  init() {
    let signals = Signals()
    let listens = DispatchSemaphore(value: 0)
    self.signals = signals
    sources = [SIGINT, SIGTERM, SIGHUP, SIGWINCH].map { number in
      if number != SIGWINCH { _ = signal(number, SIG_IGN) }
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler { @Sendable in signals.arrived(number) }
      source.setRegistrationHandler { @Sendable in listens.signal() }
      source.activate()
      return source
    }
    // A source listens some time after it was activated: a signal before that would be lost.
    for _ in sources { listens.wait() }
  }

  /// Shows a picture in place of the one before; one after the other if this is no terminal.
  func show(_ frame: TopFrame) {
    guard Terminal.isStandardOutput else {
      return Output.line(frame.lines().joined(separator: "\n") + "\n")
    }
    let size = Terminal.size(of: .standardOutput)
    let lines = frame.lines(rows: size.rows - 1).map { $0.prefix(size.columns) + Self.clearLine }
    let start = hasEntered ? Self.home : Self.enter + Self.home
    hasEntered = true
    Output.text(start + lines.joined(separator: "\n") + "\n" + Self.clearBelow)
  }

  /// Waits for a signal, until `deadline` at most.
  func wait(until deadline: DispatchTime) -> Wish { signals.wait(until: deadline) }

  /// Gives the terminal back as it was.
  func leave() {
    if hasEntered { Output.text(Self.leave) }
    hasEntered = false
  }
}

/// Signals that came since the last look.
private final class Signals: Sendable {
  private let hasCome = DispatchSemaphore(value: 0)
  private let ends = Atomic(false)

  func arrived(_ number: Int32) {
    if number != SIGWINCH { ends.store(true, ordering: .relaxed) }
    hasCome.signal()
  }

  func wait(until deadline: DispatchTime) -> Screen.Wish {
    let isOver = hasCome.wait(timeout: deadline) == .timedOut
    if ends.load(ordering: .relaxed) { return .end }
    return isOver ? .look : .redraw
  }
}
