/// A command whose arguments are arriving: what to do with each, and what they make in the end.
///
/// What is wrong with a command shows as soon as its name is there; nothing of its arguments is
/// kept after that.
struct RESPAssembly {
  /// What to do with an argument whose length is known.
  enum Plan: Equatable {
    /// Keep so many bytes of its front, drop the rest.
    case keep(Int)
    /// It is the value of this key: it goes to its place.
    case value(key: [UInt8])
  }

  /// How many arguments there are, the name among them.
  let count: Int
  /// Whether it was typed in one line, where the limits of counted arguments do not hold.
  let isInline: Bool
  /// Which argument is arriving.
  private var index = 0
  private var name: RESPCommandName?
  /// The name as it was sent, of a command that nobody knows.
  private var unknownName: [UInt8] = []
  /// What was kept: all but the name and the value.
  private var arguments: [[UInt8]] = []
  /// What is kept, in bytes, with what each argument takes beside its own.
  private(set) var keptBytes = 0
  private var refusal: RESPError?
  private var hasBegunValue = false

  /// Stands where no command has begun.
  static let none = RESPAssembly(count: 1, isInline: false)

  /// Begins a command of `count` arguments, 1 or more.
  init(count: Int, isInline: Bool) {
    self.count = count
    self.isInline = isInline
  }

  /// Says what to do with the next argument, which is `length` bytes long.
  mutating func plan(_ length: Int, _ limits: RESPLimits) -> Plan {
    guard index > 0 else { return .keep(min(length, RESPLimits.quotedBytesMax)) }
    guard refusal == nil else { return .keep(0) }
    guard let name else {
      return .keep(min(length, max(0, RESPLimits.quotedBytesMax - keptBytes)))
    }
    if index == name.valueIndex, let key = arguments.first {
      hasBegunValue = true
      return .value(key: key)
    }
    guard length <= limits.keyBytesMax else {
      return drop(.argumentTooLong(limit: limits.keyBytesMax))
    }
    let room = limits.commandBytesMax - keptBytes - RESPLimits.argumentOverheadBytes
    guard length <= room else { return drop(.commandTooLong(limit: limits.commandBytesMax)) }
    return .keep(length)
  }

  /// Takes what was to be kept of the argument.
  ///
  /// - Throws: a protocol error if the command is of HTTP: a browser may have been made to send it.
  mutating func accept(
    _ bytes: ArraySlice<UInt8>, fromStranger isStranger: Bool
  ) throws(RESPError) {
    guard index > 0 else { return try acceptName(bytes, fromStranger: isStranger) }
    guard refusal == nil else { return }
    // Of an unknown command, no more than its error repeats.
    guard name != nil || keptBytes < RESPLimits.quotedBytesMax else { return }
    let overhead = name == nil ? Self.quotingBytes : RESPLimits.argumentOverheadBytes
    keptBytes += bytes.count + overhead
    arguments.append(Array(bytes))
  }

  /// The argument is complete, its end too.
  ///
  /// - Returns: what the command is if that was the last one.
  mutating func advance() -> RESPDecoder.Event? {
    index += 1
    return index == count ? event() : nil
  }

  /// What quotes and the space behind them add to an argument that an error repeats.
  private static let quotingBytes = 3

  private mutating func acceptName(
    _ bytes: ArraySlice<UInt8>, fromStranger isStranger: Bool
  ) throws(RESPError) {
    guard let known = RESPCommandName(bytes) else {
      unknownName = Array(bytes)
      let capitals = unknownName.map(RESPByte.uppercased)
      guard capitals != Array("POST".utf8), capitals != Array("HOST:".utf8) else {
        throw .broken("this is no HTTP server")
      }
      return
    }
    name = known
    if !known.accepts(argumentCount: count) {
      refusal = .wrongArity(known.rawValue)
    } else if isStranger, !known.isForStrangers {
      refusal = .noAuthentication
    }
  }

  private mutating func drop(_ error: RESPError) -> Plan {
    refusal = error
    arguments = []
    keptBytes = 0
    return .keep(0)
  }

  private func event() -> RESPDecoder.Event {
    guard let name else { return .refused(.unknownCommand(unknownName, arguments: arguments)) }
    do throws(RESPError) {
      if let refusal { throw refusal }
      guard name.valueIndex != nil else {
        return .command(try RESPCommand(name, arguments[...]))
      }
      return .valueEnds(try RESPSetOptions(name, arguments))
    } catch {
      return hasBegunValue ? .valueRefused(error) : .refused(error)
    }
  }
}
