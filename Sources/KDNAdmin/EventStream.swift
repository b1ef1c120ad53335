internal import Hummingbird
internal import KDNControl
internal import KDNCore
internal import NIOCore

/// Tells one subscriber of events, as server-sent events, until it hangs up.
///
/// Nothing is kept for a subscriber: it is given what the daemon still remembers, and one that
/// reads too slowly is cut off by its connection's watch.
struct EventStream: Sendable {
  /// How often the daemon is asked for events.
  static let pollMilliseconds: Int64 = 250
  /// A sign of life is sent after so many questions in vain: every 10 s.
  static let quietPollsMax = 40
  /// Most events sent at once.
  static let batchMax = 64

  private let control: any DaemonControl
  private let connection: ConnectionHandle
  private let slot: StreamSlot
  private let after: UInt64

  /// Prepares a stream of events with a serial above `after`; of all there are, if that serial is
  /// one of another run.
  init(
    control: any DaemonControl, connection: ConnectionHandle, slot: StreamSlot, after: UInt64
  ) {
    self.control = control
    self.connection = connection
    self.slot = slot
    self.after = after
  }

  /// Writes events until the connection or the task ends.
  ///
  /// - Throws: what the connection throws once it is gone.
  func run(_ writer: inout any ResponseBodyWriter) async throws {
    defer { slot.release() }
    connection.streamBegan()
    try await writer.write(ByteBuffer(string: ": kdnd\n\n"))
    var serial = after > control.report().events.newest ? 0 : after
    var quietPolls = 0
    while connection.channel.isActive {
      let events = control.events(after: serial, limit: Self.batchMax)
      if let last = events.last {
        serial = last.serial
        quietPolls = 0
        try await writer.write(Self.text(of: events))
        continue
      }
      quietPolls += 1
      if quietPolls == Self.quietPollsMax {
        quietPolls = 0
        try await writer.write(ByteBuffer(string: ": \n\n"))
      }
      try await Task.sleep(for: .milliseconds(Self.pollMilliseconds))
    }
    try await writer.finish(nil)
  }

  private static func text(of events: [DaemonEvent]) -> ByteBuffer {
    var buffer = ByteBuffer()
    for event in events {
      buffer.writeString("id: \(event.serial)\nevent: \(event.kind)\ndata: ")
      buffer.writeBytes(ControlJSON.encode(event))
      buffer.writeString("\n\n")
    }
    return buffer
  }
}

/// How many streams of events there may be at once.
final class StreamSlots: Sendable {
  /// Most streams at once.
  static let countMax = 8

  private let taken = Guarded(0)

  /// Takes a place; nil if there is none.
  func take() -> StreamSlot? {
    let isFree = taken.withLock { taken in
      guard taken < Self.countMax else { return false }
      taken += 1
      return true
    }
    return isFree ? StreamSlot(of: self) : nil
  }

  fileprivate func giveBack() {
    taken.withLock { $0 -= 1 }
  }
}

/// One place among the streams; given back once, at the latest when nobody holds it any more.
final class StreamSlot: Sendable {
  private let slots: StreamSlots
  private let isHeld = Guarded(true)

  fileprivate init(of slots: StreamSlots) {
    self.slots = slots
  }

  /// Gives the place back.
  func release() {
    let wasHeld = isHeld.withLock { isHeld in
      defer { isHeld = false }
      return isHeld
    }
    if wasHeld { slots.giveBack() }
  }

  deinit { release() }
}
