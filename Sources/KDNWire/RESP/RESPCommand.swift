/// One command with its arguments checked, as far as that needs no store.
///
/// Commands that bring a value are not among them: the decoder tells of those piece by piece.
package enum RESPCommand: Equatable, Sendable {
  /// Agree on a protocol version, and perhaps log in.
  case hello(RESPHello)
  /// Log in.
  case auth(RESPCredentials)
  /// What a client says or asks about its connection.
  case client(RESPClientCommand)
  /// Are you there; the message comes back.
  case ping([UInt8]?)
  /// The message comes back.
  case echo([UInt8])
  /// Take a database; there is only 0.
  case select(Int)
  /// Answer and close.
  case quit
  /// As if the connection were new.
  case reset

  /// The value of a key.
  case get([UInt8])
  /// The values of keys, in their order.
  case mget([[UInt8]])
  /// How many of the keys are here; a key named twice counts twice.
  case exists([[UInt8]])
  /// DEL and UNLINK: drop the keys, count those that were here.
  case delete([[UInt8]])
  /// The value's length in bytes, 0 if it is not here.
  case strlen([UInt8])
  /// `string` or `none`.
  case type([UInt8])
  /// A page of the names that are known.
  case scan(RESPScan)
  /// TTL and PTTL: -2 without the key, -1 without a TTL.
  case timeToLive([UInt8], inMilliseconds: Bool)
  /// EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT: 1 if the TTL was set.
  case expire([UInt8], RESPExpiry, RESPExpireCondition)
  /// Take the TTL away: 1 if there was one.
  case persist([UInt8])

  /// Facts about the server, by section.
  case info([String])
  /// How many keys there are.
  case databaseSize
  /// FLUSHDB and FLUSHALL: drop everything of the namespace.
  case flush
  /// The parameters whose names match any of the patterns.
  case configGet([[UInt8]])
  /// What commands there are.
  case commandTable(RESPTableQuestion)
}

/// What HELLO asks for.
package struct RESPHello: Equatable, Sendable {
  /// The version to speak from now on; nil to stay with the present one.
  package let version: RESPVersion?
  /// The login, if it comes along.
  package let credentials: RESPCredentials?
  /// What the client calls itself, checked.
  package let clientName: String?

  /// Creates the request.
  package init(version: RESPVersion?, credentials: RESPCredentials?, clientName: String?) {
    self.version = version
    self.credentials = credentials
    self.clientName = clientName
  }
}

/// A user and a password; its description shows no password.
package struct RESPCredentials: Equatable, Sendable, CustomStringConvertible,
  CustomDebugStringConvertible
{
  /// The user, nil if the client gave only a password.
  package let user: String?
  /// The password's bytes.
  package let password: [UInt8]

  /// Creates the login.
  package init(user: String?, password: [UInt8]) {
    self.user = user
    self.password = password
  }

  package var description: String { "RESPCredentials(\(user ?? "no user"))" }
  package var debugDescription: String { description }
}

/// What CLIENT asks.
package enum RESPClientCommand: Equatable, Sendable {
  /// The connection's number.
  case id
  /// What is known of this connection, in a line.
  case info
  /// The name that SETNAME gave.
  case getName
  /// Call this connection so.
  case setName(String)
  /// The client library's name is this.
  case setLibraryName(String)
  /// The client library's version is this.
  case setLibraryVersion(String)
  /// NO-EVICT and NO-TOUCH: of no consequence here.
  case ignored
}

/// SCAN's arguments.
package struct RESPScan: Equatable, Sendable {
  /// Where to go on, 0 to begin.
  package let cursor: UInt64
  /// Only names that match this glob.
  package let pattern: [UInt8]?
  /// About how many names to look at, 1 or more.
  package let count: Int
  /// Only keys of this type, in lower case; all here are `string`.
  package let type: String?

  /// How many names are looked at when the client does not say.
  package static let defaultCount = 10

  /// Creates the arguments.
  package init(cursor: UInt64, pattern: [UInt8]?, count: Int, type: String?) {
    self.cursor = cursor
    self.pattern = pattern
    self.count = count
    self.type = type
  }
}

/// What COMMAND asks.
package enum RESPTableQuestion: Equatable, Sendable {
  /// All commands with their facts.
  case all
  /// How many there are.
  case count
  /// Their names.
  case list
  /// Facts of these, or of all if nil; one that is unknown gives null.
  case info([String]?)
  /// Summaries of these, or of all if empty; one that is unknown is left out.
  case docs([String])
}

/// The protocol's two versions.
package enum RESPVersion: Int, Equatable, Sendable {
  /// What a connection begins with.
  case two = 2
  /// With types for maps, sets, null and text; asked for by HELLO.
  case three = 3
}
