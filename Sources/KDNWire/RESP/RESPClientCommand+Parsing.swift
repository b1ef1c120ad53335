extension RESPClientCommand {
  /// Reads `CLIENT`'s subcommand and what follows it; throws what to answer if it is not right.
  init(from whole: inout RESPArguments) throws(RESPError) {
    let subcommand = try whole.next()
    var word = RESPArguments("client|\(RESPError.quoted(subcommand).lowercased())", [subcommand])
    var rest = RESPArguments(word.command, whole.all()[...])
    switch try word.nextWord() {
    case "ID": self = .id
    case "INFO": self = .info
    case "GETNAME": self = .getName
    case "SETNAME": self = .setName(try Self.clientName(try rest.next()))
    case "SETINFO": self = try Self.library(&rest)
    case "NO-EVICT", "NO-TOUCH": self = try Self.ignored(&rest)
    case "KILL", "PAUSE", "UNPAUSE", "REPLY", "TRACKING", "LIST", "UNBLOCK":
      throw .unsupported("CLIENT \(RESPError.quoted(subcommand).uppercased())")
    default: throw .unknownSubcommand(subcommand, of: "CLIENT")
    }
    try rest.finish()
  }

  /// A name that can be shown: visible ASCII without spaces, or empty to have none.
  ///
  /// - Throws: `invalidClientName`, or a text that says it is too long.
  static func clientName(_ bytes: [UInt8]) throws(RESPError) -> String {
    guard let name = visible(bytes) else { throw .invalidClientName }
    return name
  }

  private static func visible(_ bytes: [UInt8]) -> String? {
    guard bytes.count <= RESPLimits.clientNameBytesMax,
      bytes.allSatisfy({ (UInt8(ascii: "!")...UInt8(ascii: "~")).contains($0) })
    else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func library(_ rest: inout RESPArguments) throws(RESPError) -> RESPClientCommand {
    let option = try rest.next()
    let value = try rest.next()
    var word = RESPArguments("", [option])
    let name = try word.nextWord()
    guard name == "LIB-NAME" || name == "LIB-VER" else {
      throw RESPError("Unrecognized option '\(RESPError.quoted(option))'")
    }
    guard let text = visible(value) else {
      let lower = name.lowercased()
      throw RESPError("\(lower) cannot contain spaces, newlines or special characters.")
    }
    return name == "LIB-NAME" ? .setLibraryName(text) : .setLibraryVersion(text)
  }

  private static func ignored(_ rest: inout RESPArguments) throws(RESPError) -> RESPClientCommand {
    let word = try rest.nextWord()
    guard word == "ON" || word == "OFF" else { throw .syntax }
    return .ignored
  }
}
