/// The commands that the facade knows.
package enum RESPCommandName: String, CaseIterable, Sendable {
  case auth, client, command, config
  case dbsize, del, echo, exists, expire, expireat
  case flushall, flushdb, get, hello, info
  case mget, persist, pexpire, pexpireat, ping, psetex, pttl
  case quit, reset, scan, select, set, setex, setnx, strlen
  case ttl, type, unlink

  private static let byName = Dictionary(
    uniqueKeysWithValues: allCases.map { ($0.rawValue.uppercased(), $0) })

  /// Longest name, in bytes; small enough for a string that needs no memory of its own.
  private static let nameBytesMax = 15

  /// Finds a command by its name, in small or capital letters; nil if there is none.
  package init?(_ name: some Collection<UInt8>) {
    guard name.count <= Self.nameBytesMax else { return nil }
    let capitals = String(decoding: name.lazy.map(RESPByte.uppercased), as: UTF8.self)
    guard let known = Self.byName[capitals] else { return nil }
    self = known
  }

  /// Whether so many arguments, the name among them, may be right.
  package func accepts(argumentCount: Int) -> Bool {
    let arity = facts.arity
    return arity >= 0 ? argumentCount == arity : argumentCount >= -arity
  }

  /// The number of the argument that is a value and is not kept; nil if there is none.
  package var valueIndex: Int? {
    switch self {
    case .set, .setnx: 2
    case .setex, .psetex: 3
    default: nil
    }
  }

  /// Whether a client may use it before it has logged in.
  package var isForStrangers: Bool {
    switch self {
    case .auth, .hello, .quit, .reset: true
    default: false
    }
  }
}

/// What COMMAND tells of a command.
package struct RESPCommandFacts: Sendable {
  /// How many arguments it has, its name among them; negative if so many or more.
  package let arity: Int
  /// Where its keys are: number of the first, of the last (-1: to the end), and the step.
  package let keys: (first: Int, last: Int, step: Int)
  /// Redis's names for its properties.
  package let flags: [String]
  /// Redis's group of commands that it belongs to.
  package let group: String
  /// What it does, in a few words.
  package let summary: String
}

extension RESPCommandName {
  /// What COMMAND tells of it.
  package var facts: RESPCommandFacts { Self.table[self] ?? Self.unlisted }

  /// Stands for a command without a row; a test sees that each has one.
  private static let unlisted = row(-1, nil, "", "", "")

  private static let table: [RESPCommandName: RESPCommandFacts] = [
    .auth: row(-2, nil, "noscript loading stale fast no_auth", "connection", "Logs in"),
    .client: row(-2, nil, "", "connection", "Tells and asks about the connection"),
    .command: row(-1, nil, "loading stale", "server", "Tells of the commands"),
    .config: row(-2, nil, "", "server", "Shows parameters"),
    .dbsize: row(1, nil, "readonly fast", "server", "Counts the keys"),
    .del: row(-2, (1, -1, 1), "write", "generic", "Deletes keys"),
    .echo: row(2, nil, "loading stale fast", "connection", "Returns its message"),
    .exists: row(-2, (1, -1, 1), "readonly fast", "generic", "Counts the keys that are here"),
    .expire: row(-3, (1, 1, 1), "write fast", "generic", "Sets a key's TTL in seconds"),
    .expireat: row(-3, (1, 1, 1), "write fast", "generic", "Sets when a key ends, in seconds"),
    .flushall: row(-1, nil, "write", "server", "Deletes all keys"),
    .flushdb: row(-1, nil, "write", "server", "Deletes all keys"),
    .get: row(2, (1, 1, 1), "readonly fast", "string", "Returns a key's value"),
    .hello: row(
      -1, nil, "noscript loading stale fast no_auth", "connection", "Chooses the protocol's version"
    ),
    .info: row(-1, nil, "loading stale", "server", "Tells of the server"),
    .mget: row(-2, (1, -1, 1), "readonly fast", "string", "Returns the values of keys"),
    .persist: row(2, (1, 1, 1), "write fast", "generic", "Takes a key's TTL away"),
    .pexpire: row(-3, (1, 1, 1), "write fast", "generic", "Sets a key's TTL in milliseconds"),
    .pexpireat: row(
      -3, (1, 1, 1), "write fast", "generic", "Sets when a key ends, in milliseconds"),
    .ping: row(-1, nil, "fast", "connection", "Shows that the server is there"),
    .psetex: row(
      4, (1, 1, 1), "write denyoom", "string", "Stores a value with a TTL in milliseconds"),
    .pttl: row(2, (1, 1, 1), "readonly fast", "generic", "Returns a key's TTL in milliseconds"),
    .quit: row(-1, nil, "noscript loading stale fast no_auth", "connection", "Ends the connection"),
    .reset: row(
      1, nil, "noscript loading stale fast no_auth", "connection", "Makes the connection new"),
    .scan: row(-2, nil, "readonly", "generic", "Lists names, page by page"),
    .select: row(2, nil, "loading stale fast", "connection", "Takes a database; there is only 0"),
    .set: row(-3, (1, 1, 1), "write denyoom", "string", "Stores a value"),
    .setex: row(4, (1, 1, 1), "write denyoom", "string", "Stores a value with a TTL in seconds"),
    .setnx: row(
      3, (1, 1, 1), "write denyoom fast", "string", "Stores a value if the key is not here"),
    .strlen: row(2, (1, 1, 1), "readonly fast", "string", "Returns the length of a value"),
    .ttl: row(2, (1, 1, 1), "readonly fast", "generic", "Returns a key's TTL in seconds"),
    .type: row(2, (1, 1, 1), "readonly fast", "generic", "Returns the type of a value"),
    .unlink: row(-2, (1, -1, 1), "write fast", "generic", "Deletes keys"),
  ]

  private static func row(
    _ arity: Int, _ keys: (Int, Int, Int)?, _ flags: String, _ group: String, _ summary: String
  ) -> RESPCommandFacts {
    let (first, last, step) = keys ?? (0, 0, 0)
    return RESPCommandFacts(
      arity: arity, keys: (first, last, step),
      flags: flags.split(separator: " ").map(String.init), group: group, summary: summary)
  }
}
