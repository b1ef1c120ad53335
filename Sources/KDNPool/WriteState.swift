internal import Synchronization

/// How far an object in RAM has come on its way to the slower tier.
///
/// One word, so that a lookup reads it without a lock; values above the named ones are tickets of
/// the write queue.
struct WriteState: ~Copyable, Sendable {
  /// Nobody has asked the admission policy yet.
  static let unasked: UInt64 = 0
  /// The policy said no; it is asked again at the second use.
  static let declined: UInt64 = 1
  /// The tier is writing it, or asked to.
  static let writing: UInt64 = 2
  /// The tier wrote it or refused it.
  static let over: UInt64 = 3
  /// The first ticket of a write queue.
  static let firstTicket: UInt64 = 16

  private let word: Atomic<UInt64>

  init(_ value: UInt64 = unasked) { word = Atomic(value) }

  var value: UInt64 { word.load(ordering: .acquiring) }

  /// Whether the second use may change the policy's mind.
  var isDeclined: Bool { value == Self.declined }
  /// The ticket, if the object waits for its turn.
  var ticket: UInt64? {
    let value = value
    return value >= Self.firstTicket ? value : nil
  }

  /// Goes from one value to another, if it is still the one.
  func change(from old: UInt64, to new: UInt64) -> Bool {
    word.compareExchange(expected: old, desired: new, ordering: .acquiringAndReleasing).exchanged
  }

  func set(_ value: UInt64) { word.store(value, ordering: .releasing) }
}
