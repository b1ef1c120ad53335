/// The arguments of one command, taken from the front; the name is not among them.
struct RESPArguments {
  /// What errors call the command: its name in small letters, `client|setname` for a subcommand.
  let command: String
  private var rest: ArraySlice<[UInt8]>

  /// Added to the time of day of the next century this is still a number.
  private static let latestMilliseconds = Int64.max - (1 << 42)

  init(_ command: String, _ arguments: ArraySlice<[UInt8]>) {
    self.command = command
    rest = arguments
  }

  /// How many are left.
  var count: Int { rest.count }

  /// Takes the next; throws `wrongArity` if there is none.
  mutating func next() throws(RESPError) -> [UInt8] {
    guard let first = rest.popFirst() else { throw .wrongArity(command) }
    return first
  }

  /// Takes the next as a word in capitals; throws `wrongArity` if there is none.
  mutating func nextWord() throws(RESPError) -> String { Self.word(try next()) }

  /// Takes the next as a number; throws `syntax` if there is none and `notAnInteger` if it is none.
  mutating func nextInteger() throws(RESPError) -> Int64 {
    guard let first = rest.popFirst() else { throw .syntax }
    guard let number = Int64(respDigits: first) else { throw .notAnInteger }
    return number
  }

  /// Takes a time, in seconds or milliseconds, as milliseconds.
  ///
  /// - Throws: `syntax`, `notAnInteger`, or `invalidExpiry` for one that is beyond all time or,
  ///   unless `allowsPast`, not above zero.
  mutating func nextExpiry(inSeconds: Bool, allowsPast: Bool = false) throws(RESPError) -> Int64 {
    let number = try nextInteger()
    let (milliseconds, overflow) = number.multipliedReportingOverflow(by: inSeconds ? 1000 : 1)
    guard !overflow, milliseconds <= Self.latestMilliseconds, allowsPast || number > 0 else {
      throw .invalidExpiry(command)
    }
    return milliseconds
  }

  /// Takes all that are left.
  mutating func all() -> [[UInt8]] {
    defer { rest = [] }
    return Array(rest)
  }

  /// Takes all that are left, which must be words; in small letters.
  mutating func allWords() -> [String] { all().map { Self.word($0).lowercased() } }

  /// Throws `wrongArity` if any are left.
  func finish() throws(RESPError) {
    guard rest.isEmpty else { throw .wrongArity(command) }
  }

  /// Capitals; what is not UTF-8 matches no word.
  private static func word(_ bytes: [UInt8]) -> String {
    String(decoding: bytes.lazy.map(RESPByte.uppercased), as: UTF8.self)
  }
}
