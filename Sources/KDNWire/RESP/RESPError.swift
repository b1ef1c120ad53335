/// An error as Redis tells it: a code in capitals and a text; neither has line breaks.
package struct RESPError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What programs look at.
  package let code: String
  /// What people read.
  package let text: String

  /// Creates an error; line breaks become spaces, since a reply is one line.
  package init(_ code: String, _ text: String) {
    self.code = code
    self.text = Self.oneLine(text)
  }

  /// Creates an error with Redis's general code `ERR`.
  package init(_ text: String) { self.init("ERR", text) }

  package var description: String { text.isEmpty ? code : "\(code) \(text)" }

  private static func oneLine(_ text: String) -> String {
    guard text.utf8.contains(where: { $0 == RESPByte.lineFeed || $0 == RESPByte.carriageReturn })
    else { return text }
    var scalars = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      scalars.append(scalar == "\r" || scalar == "\n" ? " " : scalar)
    }
    return String(scalars)
  }
}

// MARK: What costs the connection

extension RESPError {
  /// The stream cannot be followed any further.
  package static func broken(_ problem: String) -> RESPError {
    RESPError("Protocol error: \(problem)")
  }

  /// Whether it is a protocol error, after which the connection is closed.
  package var endsConnection: Bool { code == "ERR" && text.hasPrefix("Protocol error: ") }
}

// MARK: What refuses one command

extension RESPError {
  /// The client must log in first.
  package static let noAuthentication = RESPError("NOAUTH", "Authentication required.")
  /// HELLO without a login where one is needed.
  package static let helloNeedsAuthentication = RESPError(
    "NOAUTH",
    "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
      + "<user> <pass> option can be used to authenticate the client and select the RESP protocol "
      + "version at the same time")
  /// No tenant has this name and password.
  package static let wrongPassword = RESPError(
    "WRONGPASS", "invalid username-password pair or user is disabled.")
  /// AUTH where nobody has to log in.
  package static let noPasswordSet = RESPError(
    "AUTH <password> called without any password configured for the default user. "
      + "Are you sure your configuration is correct?")
  /// HELLO with a version other than 2 and 3.
  package static let unsupportedVersion = RESPError("NOPROTO", "unsupported protocol version")
  /// Options that make no sense, or not together.
  package static let syntax = RESPError("syntax error")
  /// A number was expected.
  package static let notAnInteger = RESPError("value is not an integer or out of range")
  /// SCAN with a cursor that is no number.
  package static let invalidCursor = RESPError("invalid cursor")
  /// SELECT of a database other than 0.
  package static let databaseOutOfRange = RESPError("DB index is out of range")
  /// A client name that would break the lines it is shown in.
  package static let invalidClientName = RESPError(
    "Client names cannot contain spaces, newlines or special characters.")
  /// There is no room for the object, and nothing may be evicted for it.
  package static let outOfMemory = RESPError(
    "OOM", "command not allowed when used memory > 'maxmemory'.")

  /// Nothing that this server can do now; the client may try again.
  package static func busy(_ reason: String) -> RESPError { RESPError("BUSY", reason) }

  /// Something of Redis that a cache of KV does not have.
  package static func unsupported(_ what: String) -> RESPError {
    RESPError("\(what) is not supported")
  }

  /// A command with too few or too many arguments; `name` in lower case, `client|setname` for a
  /// subcommand.
  package static func wrongArity(_ name: String) -> RESPError {
    RESPError("wrong number of arguments for '\(name)' command")
  }

  /// A TTL that is not above zero, or beyond all time.
  package static func invalidExpiry(_ name: String) -> RESPError {
    RESPError("invalid expire time in '\(name)' command")
  }

  /// A command without such a subcommand.
  package static func unknownSubcommand(_ subcommand: [UInt8], of name: String) -> RESPError {
    RESPError("unknown subcommand '\(quoted(subcommand))'. Try \(name) HELP.")
  }

  /// A command that nobody knows, with the front of its arguments.
  package static func unknownCommand(_ name: [UInt8], arguments: [[UInt8]]) -> RESPError {
    var list = ""
    for argument in arguments {
      let room = RESPLimits.quotedBytesMax - list.utf8.count
      guard room > 0 else { break }
      list += "'\(quoted(argument.prefix(room)))' "
    }
    return RESPError("unknown command '\(quoted(name))', with args beginning with: \(list)")
  }

  /// A key or another argument that is longer than is kept, in bytes.
  package static func argumentTooLong(limit: Int) -> RESPError {
    RESPError("an argument is longer than the \(limit) bytes allowed")
  }

  /// A command whose arguments together are longer than is kept, in bytes.
  package static func commandTooLong(limit: Int) -> RESPError {
    RESPError("the command's arguments need more than the \(limit) bytes allowed")
  }

  /// Up to its first zero byte and never long, as Redis quotes.
  static func quoted(_ bytes: some Collection<UInt8>) -> String {
    String(decoding: bytes.prefix { $0 != 0 }.prefix(RESPLimits.quotedBytesMax), as: UTF8.self)
  }
}
