package import KDNCore

/// How many messages each side may still send; no clock, no device.
///
/// Every message takes one credit, and a credit comes back once its message has been consumed. One
/// credit is kept for messages that only return credits, so that both sides never wait for each
/// other; such a message returns at least two, so that two idle sides do not return credits for
/// returned credits for ever. From three receives on a side that has lost all credit is thus owed
/// enough to be given some.
package struct RDMACredit: Equatable, Sendable {
  /// Receives that this side has posted and announced.
  package let granted: Int
  /// Receives that the other side has announced.
  package let announced: Int
  /// Messages that this side may send now.
  package private(set) var available: Int
  /// Messages of the other side whose credits have not been returned.
  package private(set) var outstanding = 0
  /// Consumed messages of the other side whose credits are to be returned.
  package private(set) var owed = 0

  /// Starts with all credits on both sides.
  package init(granted: Int, announced: Int) {
    precondition(RDMAGreeting.receivesRange.contains(granted), "too few or too many receives")
    precondition(RDMAGreeting.receivesRange.contains(announced), "too few or too many receives")
    self.granted = granted
    self.announced = announced
    available = announced
  }

  /// True if a message with bytes of the stream may go.
  package var maySendStream: Bool { available >= 2 }

  /// True if a message should go for the sake of the credits it returns.
  package var shouldReturn: Bool { available >= 1 && owed >= max(2, granted / 2) }

  /// Takes note of a message that came and returned `credits`.
  ///
  /// - Throws: a fault if the other side had no credit for it, or returns what was never taken.
  package mutating func arrived(returning credits: UInt32) throws(FieldFault) {
    guard outstanding < granted else {
      throw FieldFault("credits", value: outstanding + 1, limit: granted, "more than granted")
    }
    outstanding += 1
    let taken = announced - available
    guard Int(credits) <= taken else {
      throw FieldFault(
        "creditsReturned", value: Int(credits), limit: taken, "more than were taken")
    }
    available += Int(credits)
  }

  /// Takes note that a message has been consumed.
  package mutating func consumed() {
    precondition(owed < outstanding, "more messages consumed than came")
    owed += 1
  }

  /// Takes the credit for a message that goes now; says how many credits it returns.
  package mutating func send() -> UInt32 {
    precondition(available > 0, "a message without credit")
    available -= 1
    outstanding -= owed
    defer { owed = 0 }
    return UInt32(owed)
  }
}
