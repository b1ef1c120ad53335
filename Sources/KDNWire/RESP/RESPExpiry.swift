/// When a key shall end.
package enum RESPExpiry: Equatable, Sendable {
  /// So long after the command; EXPIRE may say 0 or less: at once.
  case after(milliseconds: Int64)
  /// At this time of day, in milliseconds since 1970; may have passed.
  case at(unixMilliseconds: Int64)
}

/// When EXPIRE may change a TTL; a key without one lives for ever.
package struct RESPExpireCondition: OptionSet, Hashable, Sendable {
  package let rawValue: UInt8

  package init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Only if there is none.
  package static let ifNone = RESPExpireCondition(rawValue: 1)
  /// Only if there is one.
  package static let ifSome = RESPExpireCondition(rawValue: 2)
  /// Only if the new one ends later.
  package static let ifLater = RESPExpireCondition(rawValue: 4)
  /// Only if the new one ends sooner.
  package static let ifSooner = RESPExpireCondition(rawValue: 8)
}

/// How a value is to be stored and answered: the options of SET, and what SETEX and others imply.
package struct RESPSetOptions: Equatable, Sendable {
  /// Whether the key must or must not be here before.
  package enum Condition: Equatable, Sendable {
    /// Store in any case.
    case always
    /// NX: only if the key is not here.
    case ifAbsent
    /// XX: only if the key is here.
    case ifPresent
  }

  /// What the client awaits.
  package enum Reply: Equatable, Sendable {
    /// `+OK`, or null if the condition did not hold.
    case ok
    /// 1, or 0 if the condition did not hold: SETNX.
    case number
  }

  /// When the key ends; above zero.
  package var expiry: RESPExpiry?
  /// KEEPTTL: the TTL that the key has stays.
  package var keepsExpiry = false
  /// NX and XX.
  package var condition = Condition.always
  /// GET: the reply is the value that was here before, or null.
  package var returnsOld = false
  /// The form of the reply.
  package var reply = Reply.ok

  /// Creates the options of a plain SET.
  package init() {}
}
