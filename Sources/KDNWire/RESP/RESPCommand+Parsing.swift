extension RESPCommand {
  /// Makes a command of its name and what followed it; not for commands that bring a value.
  ///
  /// - Throws: what to answer if the arguments are not right.
  init(_ name: RESPCommandName, _ arguments: ArraySlice<[UInt8]>) throws(RESPError) {
    var rest = RESPArguments(name.rawValue, arguments)
    switch name {
    case .hello: self = .hello(try RESPHello(from: &rest))
    case .auth: self = .auth(try RESPCredentials(from: &rest))
    case .client: self = .client(try RESPClientCommand(from: &rest))
    case .ping: self = .ping(rest.count == 0 ? nil : try rest.next())
    case .echo: self = .echo(try rest.next())
    case .select: self = .select(try Self.database(from: &rest))
    case .quit:
      // Whatever follows it, as Redis.
      _ = rest.all()
      self = .quit
    case .reset: self = .reset
    case .get: self = .get(try rest.next())
    case .strlen: self = .strlen(try rest.next())
    case .type: self = .type(try rest.next())
    case .ttl: self = .timeToLive(try rest.next(), inMilliseconds: false)
    case .pttl: self = .timeToLive(try rest.next(), inMilliseconds: true)
    case .persist: self = .persist(try rest.next())
    case .mget: self = .mget(rest.all())
    case .exists: self = .exists(rest.all())
    case .del, .unlink: self = .delete(rest.all())
    case .expire: self = try Self.expire(&rest, inSeconds: true, isAbsolute: false)
    case .pexpire: self = try Self.expire(&rest, inSeconds: false, isAbsolute: false)
    case .expireat: self = try Self.expire(&rest, inSeconds: true, isAbsolute: true)
    case .pexpireat: self = try Self.expire(&rest, inSeconds: false, isAbsolute: true)
    case .scan: self = .scan(try RESPScan(from: &rest))
    case .info: self = .info(rest.allWords())
    case .dbsize: self = .databaseSize
    case .flushdb, .flushall: self = try Self.flush(&rest)
    case .config: self = try Self.config(&rest)
    case .command: self = .commandTable(try RESPTableQuestion(from: &rest))
    case .set, .setex, .psetex, .setnx: preconditionFailure("a value is told of in pieces")
    }
    try rest.finish()
  }

  private static func database(from rest: inout RESPArguments) throws(RESPError) -> Int {
    let number = try rest.nextInteger()
    guard number == 0 else { throw .databaseOutOfRange }
    return 0
  }

  private static func expire(
    _ rest: inout RESPArguments, inSeconds: Bool, isAbsolute: Bool
  ) throws(RESPError) -> RESPCommand {
    let key = try rest.next()
    let time = try rest.next()
    var condition: RESPExpireCondition = []
    for option in rest.all() { try condition.add(option) }
    try condition.check()
    var number = RESPArguments(rest.command, [time])
    let milliseconds = try number.nextExpiry(inSeconds: inSeconds, allowsPast: true)
    let expiry: RESPExpiry =
      isAbsolute ? .at(unixMilliseconds: milliseconds) : .after(milliseconds: milliseconds)
    return .expire(key, expiry, condition)
  }

  private static func flush(_ rest: inout RESPArguments) throws(RESPError) -> RESPCommand {
    guard rest.count > 0 else { return .flush }
    let word = try rest.nextWord()
    guard rest.count == 0, word == "ASYNC" || word == "SYNC" else { throw .syntax }
    return .flush
  }

  private static func config(_ rest: inout RESPArguments) throws(RESPError) -> RESPCommand {
    let subcommand = try rest.next()
    var name = RESPArguments("config|\(RESPError.quoted(subcommand).lowercased())", [subcommand])
    switch try name.nextWord() {
    case "GET":
      guard rest.count > 0 else { throw .wrongArity(name.command) }
      return .configGet(rest.all())
    case "SET", "REWRITE", "RESETSTAT":
      throw .unsupported("CONFIG \(RESPError.quoted(subcommand).uppercased())")
    default: throw .unknownSubcommand(subcommand, of: "CONFIG")
    }
  }
}

extension RESPExpireCondition {
  fileprivate mutating func add(_ option: [UInt8]) throws(RESPError) {
    var word = RESPArguments("", [option])
    switch try word.nextWord() {
    case "NX": insert(.ifNone)
    case "XX": insert(.ifSome)
    case "GT": insert(.ifLater)
    case "LT": insert(.ifSooner)
    default: throw RESPError("Unsupported option \(RESPError.quoted(option))")
    }
  }

  fileprivate func check() throws(RESPError) {
    guard !contains(.ifNone) || self == .ifNone else {
      throw RESPError("NX and XX, GT or LT options at the same time are not compatible")
    }
    guard !isSuperset(of: [.ifLater, .ifSooner]) else {
      throw RESPError("GT and LT options at the same time are not compatible")
    }
  }
}

extension RESPCredentials {
  /// `AUTH [user] password`; throws `syntax` if there is more.
  fileprivate init(from rest: inout RESPArguments) throws(RESPError) {
    guard rest.count <= 2 else { throw .syntax }
    let user = rest.count == 2 ? String(decoding: try rest.next(), as: UTF8.self) : nil
    self.init(user: user, password: try rest.next())
  }
}

extension RESPHello {
  fileprivate init(from rest: inout RESPArguments) throws(RESPError) {
    guard rest.count > 0 else {
      self.init(version: nil, credentials: nil, clientName: nil)
      return
    }
    guard let number = Int64(respDigits: try rest.next()) else {
      throw RESPError("Protocol version is not an integer or out of range")
    }
    guard let version = RESPVersion(rawValue: Int(number)) else { throw .unsupportedVersion }
    var credentials: RESPCredentials?
    var name: String?
    while rest.count > 0 {
      let option = try rest.next()
      var word = RESPArguments("", [option])
      switch (try word.nextWord(), rest.count) {
      case ("AUTH", 2...):
        let user = String(decoding: try rest.next(), as: UTF8.self)
        credentials = RESPCredentials(user: user, password: try rest.next())
      case ("SETNAME", 1...): name = try RESPClientCommand.clientName(try rest.next())
      default: throw RESPError("Syntax error in HELLO option '\(RESPError.quoted(option))'")
      }
    }
    self.init(version: version, credentials: credentials, clientName: name)
  }
}

extension RESPTableQuestion {
  fileprivate init(from rest: inout RESPArguments) throws(RESPError) {
    guard rest.count > 0 else {
      self = .all
      return
    }
    let subcommand = try rest.next()
    let name = "command|\(RESPError.quoted(subcommand).lowercased())"
    var word = RESPArguments(name, [subcommand])
    switch try word.nextWord() {
    case "COUNT":
      guard rest.count == 0 else { throw .wrongArity(name) }
      self = .count
    case "LIST":
      guard rest.count == 0 else { throw .syntax }
      self = .list
    case "INFO": self = .info(rest.count == 0 ? nil : rest.allWords())
    case "DOCS": self = .docs(rest.allWords())
    default: throw .unknownSubcommand(subcommand, of: "COMMAND")
    }
  }
}

extension RESPScan {
  fileprivate init(from rest: inout RESPArguments) throws(RESPError) {
    let digits = try rest.next()
    guard let cursor = UInt64(String(decoding: digits, as: UTF8.self)),
      digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
    else { throw .invalidCursor }
    var pattern: [UInt8]?
    var count = Self.defaultCount
    var type: String?
    while rest.count > 0 {
      let word = try rest.nextWord()
      guard rest.count > 0 else { throw .syntax }
      switch word {
      case "MATCH": pattern = try rest.next()
      case "COUNT":
        let number = try rest.nextInteger()
        guard number >= 1 else { throw .syntax }
        count = Int(number)
      case "TYPE": type = try rest.nextWord().lowercased()
      default: throw .syntax
      }
    }
    self.init(cursor: cursor, pattern: pattern, count: count, type: type)
  }
}
