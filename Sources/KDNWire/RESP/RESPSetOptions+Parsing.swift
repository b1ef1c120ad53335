extension RESPSetOptions {
  /// Reads what a command with a value says besides key and value.
  ///
  /// `arguments` are all but the value, in order: the key, then the options.
  ///
  /// - Throws: `syntax`, `notAnInteger` or `invalidExpiry`.
  init(_ name: RESPCommandName, _ arguments: [[UInt8]]) throws(RESPError) {
    self.init()
    var rest = RESPArguments(name.rawValue, arguments.dropFirst())
    switch name {
    case .set: try takeOptions(from: &rest)
    case .setex: expiry = .after(milliseconds: try rest.nextExpiry(inSeconds: true))
    case .psetex: expiry = .after(milliseconds: try rest.nextExpiry(inSeconds: false))
    case .setnx:
      condition = .ifAbsent
      reply = .number
    default: preconditionFailure("\(name) brings no value")
    }
    try rest.finish()
  }

  private mutating func takeOptions(from rest: inout RESPArguments) throws(RESPError) {
    var expiryWord: String?
    var time: RESPArguments?
    while rest.count > 0 {
      let word = try rest.nextWord()
      switch word {
      case "NX" where condition != .ifPresent: condition = .ifAbsent
      case "XX" where condition != .ifAbsent: condition = .ifPresent
      case "GET": returnsOld = true
      case "KEEPTTL" where expiryWord == nil: keepsExpiry = true
      case "EX", "PX", "EXAT", "PXAT":
        guard !keepsExpiry, expiryWord == nil || expiryWord == word, rest.count > 0 else {
          throw .syntax
        }
        expiryWord = word
        time = RESPArguments(rest.command, [try rest.next()])
      default: throw .syntax
      }
    }
    guard let expiryWord, var time else { return }
    let milliseconds = try time.nextExpiry(inSeconds: !expiryWord.hasPrefix("P"))
    expiry =
      expiryWord.hasSuffix("AT")
      ? .at(unixMilliseconds: milliseconds) : .after(milliseconds: milliseconds)
  }
}
