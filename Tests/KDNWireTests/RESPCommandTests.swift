import KDNCore
import KDNWire
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Words of a command and the error that Redis 7.0.15 gives for it.
struct RefusedCommand: Sendable, CustomTestStringConvertible {
  let words: String
  let error: RESPError
  var testDescription: String { words }

  init(_ words: String, _ text: String) { self.init(words, RESPError(text)) }

  init(_ words: String, _ error: RESPError) {
    self.words = words
    self.error = error
  }
}

private let incompatible = "NX and XX, GT or LT options at the same time are not compatible"
private let invalidName = "Client names cannot contain spaces, newlines or special characters."

private let refusedCommands = [
  RefusedCommand("GET", "wrong number of arguments for 'get' command"),
  RefusedCommand("gEt a b", "wrong number of arguments for 'get' command"),
  RefusedCommand("set k", "wrong number of arguments for 'set' command"),
  RefusedCommand("SETEX k v", "wrong number of arguments for 'setex' command"),
  RefusedCommand("SETNX k", "wrong number of arguments for 'setnx' command"),
  RefusedCommand("EXPIRE k", "wrong number of arguments for 'expire' command"),
  RefusedCommand("EXPIRE k x", "value is not an integer or out of range"),
  RefusedCommand("EXPIRE k 10 NX XX", RESPError(incompatible)),
  RefusedCommand("EXPIRE k 10 LT NX", RESPError(incompatible)),
  RefusedCommand(
    "EXPIRE k 10 GT LT", "GT and LT options at the same time are not compatible"),
  RefusedCommand("EXPIRE k 10 BOGUS", "Unsupported option BOGUS"),
  RefusedCommand("EXPIRE k x GT LT BOGUS", "Unsupported option BOGUS"),
  RefusedCommand("EXPIRE k 9223372036854775807", "invalid expire time in 'expire' command"),
  RefusedCommand("PEXPIRE k 9223372036854775807", "invalid expire time in 'pexpire' command"),
  RefusedCommand("SCAN x", "invalid cursor"),
  RefusedCommand("SCAN 18446744073709551616", "invalid cursor"),
  RefusedCommand("SCAN 0 COUNT", "syntax error"),
  RefusedCommand("SCAN 0 COUNT 0", "syntax error"),
  RefusedCommand("SCAN 0 COUNT x", "value is not an integer or out of range"),
  RefusedCommand("SCAN 0 BOGUS 1", "syntax error"),
  RefusedCommand("SELECT x", "value is not an integer or out of range"),
  RefusedCommand("SELECT 16", "DB index is out of range"),
  RefusedCommand("SELECT -1", "DB index is out of range"),
  RefusedCommand("HELLO x", "Protocol version is not an integer or out of range"),
  RefusedCommand("HELLO 4", RESPError("NOPROTO", "unsupported protocol version")),
  RefusedCommand("HELLO 2 AUTH a", "Syntax error in HELLO option 'AUTH'"),
  RefusedCommand("HELLO 2 SETNAME", "Syntax error in HELLO option 'SETNAME'"),
  RefusedCommand("HELLO 2 SETNAME \u{e4}", RESPError(invalidName)),
  RefusedCommand("HELLO 2 BOGUS", "Syntax error in HELLO option 'BOGUS'"),
  RefusedCommand("AUTH a b c", "syntax error"),
  RefusedCommand("AUTH", "wrong number of arguments for 'auth' command"),
  RefusedCommand("CLIENT", "wrong number of arguments for 'client' command"),
  RefusedCommand("CLIENT BOGUS", "unknown subcommand 'BOGUS'. Try CLIENT HELP."),
  RefusedCommand("CLIENT SETNAME", "wrong number of arguments for 'client|setname' command"),
  RefusedCommand("CLIENT SETNAME \u{1}", RESPError(invalidName)),
  RefusedCommand("CLIENT GETNAME x", "wrong number of arguments for 'client|getname' command"),
  RefusedCommand("CLIENT NO-EVICT x", "syntax error"),
  RefusedCommand("CLIENT NO-EVICT", "wrong number of arguments for 'client|no-evict' command"),
  RefusedCommand(
    "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip",
    "unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP."),
  RefusedCommand("CLIENT SETINFO LIB-AGE 5", "Unrecognized option 'LIB-AGE'"),
  RefusedCommand(
    "CLIENT SETINFO LIB-VER \u{7f}",
    "lib-ver cannot contain spaces, newlines or special characters."),
  RefusedCommand("CLIENT KILL ID 5", "CLIENT KILL is not supported"),
  RefusedCommand("client reply off", "CLIENT REPLY is not supported"),
  RefusedCommand("CONFIG", "wrong number of arguments for 'config' command"),
  RefusedCommand("CONFIG GET", "wrong number of arguments for 'config|get' command"),
  RefusedCommand("CONFIG SET maxmemory 1", "CONFIG SET is not supported"),
  RefusedCommand("CONFIG BOGUS", "unknown subcommand 'BOGUS'. Try CONFIG HELP."),
  RefusedCommand("COMMAND COUNT x", "wrong number of arguments for 'command|count' command"),
  RefusedCommand("COMMAND BOGUS", "unknown subcommand 'BOGUS'. Try COMMAND HELP."),
  RefusedCommand("COMMAND LIST x", "syntax error"),
  RefusedCommand("FLUSHDB BOGUS", "syntax error"),
  RefusedCommand("FLUSHDB ASYNC SYNC", "syntax error"),
  RefusedCommand("DBSIZE x", "wrong number of arguments for 'dbsize' command"),
  RefusedCommand("PING a b", "wrong number of arguments for 'ping' command"),
  RefusedCommand("ECHO", "wrong number of arguments for 'echo' command"),
  RefusedCommand("RESET x", "wrong number of arguments for 'reset' command"),
  RefusedCommand("MGET", "wrong number of arguments for 'mget' command"),
  RefusedCommand(
    "a-name-that-is-long x", "unknown command 'a-name-that-is-long', with args beginning with: 'x' "
  ),
  RefusedCommand("a\u{0}b\r\nc x\u{0}y", "unknown command 'a', with args beginning with: 'x' "),
  RefusedCommand("a\rb", "unknown command 'a b', with args beginning with: "),
]

private let refusedValues = [
  RefusedCommand("SET k v EX", "syntax error"),
  RefusedCommand("SET k v EX x", "value is not an integer or out of range"),
  RefusedCommand("SET k v EX 0", "invalid expire time in 'set' command"),
  RefusedCommand("SET k v EX -1", "invalid expire time in 'set' command"),
  RefusedCommand("SET k v PX 9223372036854775807", "invalid expire time in 'set' command"),
  RefusedCommand("SET k v EX 9223372036854775807", "invalid expire time in 'set' command"),
  RefusedCommand("SET k v EX 9223372036854775808", "value is not an integer or out of range"),
  RefusedCommand("SET k v NX XX", "syntax error"),
  RefusedCommand("SET k v XX NX", "syntax error"),
  RefusedCommand("SET k v EX 10 PX 10", "syntax error"),
  RefusedCommand("SET k v EX 10 KEEPTTL", "syntax error"),
  RefusedCommand("SET k v KEEPTTL EX 10", "syntax error"),
  RefusedCommand("SET k v BOGUS", "syntax error"),
  RefusedCommand("SET k v EX x NX XX", "syntax error"),
  RefusedCommand("SETEX k 0 v", "invalid expire time in 'setex' command"),
  RefusedCommand("SETEX k x v", "value is not an integer or out of range"),
  RefusedCommand("PSETEX k -1 v", "invalid expire time in 'psetex' command"),
]

/// Words of a command and what they ask for.
struct GrantedCommand: Sendable, CustomTestStringConvertible {
  let words: String
  let command: RESPCommand
  var testDescription: String { words }

  init(_ words: String, _ command: RESPCommand) {
    self.words = words
    self.command = command
  }
}

private let k = Array("k".utf8)
private let password = RESPCredentials(user: nil, password: Array("p".utf8))
private let user = RESPCredentials(user: "u", password: Array("p".utf8))

private let grantedCommands = [
  GrantedCommand(
    "HELLO", .hello(RESPHello(version: nil, credentials: nil, clientName: nil))),
  GrantedCommand(
    "HELLO 2", .hello(RESPHello(version: .two, credentials: nil, clientName: nil))),
  GrantedCommand(
    "hello 3 setname n auth u p",
    .hello(RESPHello(version: .three, credentials: user, clientName: "n"))),
  GrantedCommand("AUTH p", .auth(password)),
  GrantedCommand("AUTH u p", .auth(user)),
  GrantedCommand("CLIENT ID", .client(.id)),
  GrantedCommand("CLIENT INFO", .client(.info)),
  GrantedCommand("CLIENT GETNAME", .client(.getName)),
  GrantedCommand("CLIENT SETNAME n", .client(.setName("n"))),
  GrantedCommand("CLIENT SETINFO lib-name redis-py", .client(.setLibraryName("redis-py"))),
  GrantedCommand("CLIENT SETINFO LIB-VER 8.1.0", .client(.setLibraryVersion("8.1.0"))),
  GrantedCommand("CLIENT NO-EVICT on", .client(.ignored)),
  GrantedCommand("CLIENT NO-TOUCH OFF", .client(.ignored)),
  GrantedCommand("PING", .ping(nil)), GrantedCommand("PING k", .ping(k)),
  GrantedCommand("ECHO k", .echo(k)), GrantedCommand("SELECT 0", .select(0)),
  GrantedCommand("QUIT", .quit), GrantedCommand("QUIT now", .quit),
  GrantedCommand("RESET", .reset), GrantedCommand("GET k", .get(k)),
  GrantedCommand("MGET k k", .mget([k, k])), GrantedCommand("EXISTS k k", .exists([k, k])),
  GrantedCommand("DEL k", .delete([k])), GrantedCommand("UNLINK k k", .delete([k, k])),
  GrantedCommand("STRLEN k", .strlen(k)), GrantedCommand("TYPE k", .type(k)),
  GrantedCommand("TTL k", .timeToLive(k, inMilliseconds: false)),
  GrantedCommand("PTTL k", .timeToLive(k, inMilliseconds: true)),
  GrantedCommand("EXPIRE k 10", .expire(k, .after(milliseconds: 10_000), [])),
  GrantedCommand("PEXPIRE k -10", .expire(k, .after(milliseconds: -10), [])),
  GrantedCommand("EXPIREAT k 10 NX", .expire(k, .at(unixMilliseconds: 10_000), .ifNone)),
  GrantedCommand(
    "PEXPIREAT k 10 XX gt", .expire(k, .at(unixMilliseconds: 10), [.ifSome, .ifLater])),
  GrantedCommand("PERSIST k", .persist(k)),
  GrantedCommand(
    "SCAN 18446744073709551615",
    .scan(RESPScan(cursor: .max, pattern: nil, count: 10, type: nil))),
  GrantedCommand(
    "SCAN 5 TYPE STRING count 9 match k",
    .scan(RESPScan(cursor: 5, pattern: k, count: 9, type: "string"))),
  GrantedCommand("INFO", .info([])), GrantedCommand("INFO Server ALL", .info(["server", "all"])),
  GrantedCommand("DBSIZE", .databaseSize), GrantedCommand("FLUSHDB", .flush),
  GrantedCommand("FLUSHALL async", .flush), GrantedCommand("FLUSHDB SYNC", .flush),
  GrantedCommand("CONFIG GET k k", .configGet([k, k])),
  GrantedCommand("COMMAND", .commandTable(.all)),
  GrantedCommand("COMMAND COUNT", .commandTable(.count)),
  GrantedCommand("COMMAND LIST", .commandTable(.list)),
  GrantedCommand("COMMAND INFO", .commandTable(.info(nil))),
  GrantedCommand("COMMAND INFO GET x", .commandTable(.info(["get", "x"]))),
  GrantedCommand("COMMAND DOCS", .commandTable(.docs([]))),
  GrantedCommand("COMMAND DOCS GET", .commandTable(.docs(["get"]))),
]

@Suite("RESP commands")
struct RESPCommandTests {
  @Test("a command with wrong arguments gives Redis's error", arguments: refusedCommands)
  func refused(_ row: RefusedCommand) {
    #expect(told(multibulk(row.words)) == [.event(.refused(row.error))])
  }

  @Test("a value with wrong options is taken back with Redis's error", arguments: refusedValues)
  func refusedValue(_ row: RefusedCommand) {
    #expect(told(multibulk(row.words)).last == .event(.valueRefused(row.error)))
  }

  @Test("a command with right arguments says what is asked for", arguments: grantedCommands)
  func granted(_ row: GrantedCommand) {
    #expect(told(multibulk(row.words)) == [.event(.command(row.command))])
    #expect(told(row.words + "\r\n") == [.event(.command(row.command))])
  }

  private func options(_ words: String) -> RESPSetOptions? {
    guard case .event(.valueEnds(let options)) = told(multibulk(words)).last else { return nil }
    return options
  }

  @Test("SET's options are told behind the value")
  func setOptions() {
    #expect(options("SET k v") == RESPSetOptions())
    #expect(options("SET k v EX 9")?.expiry == .after(milliseconds: 9000))
    #expect(options("SET k v px 9")?.expiry == .after(milliseconds: 9))
    #expect(options("SET k v EXAT 9")?.expiry == .at(unixMilliseconds: 9000))
    #expect(options("SET k v PXAT 9")?.expiry == .at(unixMilliseconds: 9))
    #expect(options("SET k v EX 10 EX 20")?.expiry == .after(milliseconds: 20_000))
    #expect(options("SET k v KEEPTTL KEEPTTL")?.keepsExpiry == true)
    #expect(options("SET k v nx")?.condition == .ifAbsent)
    #expect(options("SET k v XX GET EX 1")?.condition == .ifPresent)
    #expect(options("SET k v NX GET")?.returnsOld == true)
    #expect(options("SETNX k v")?.reply == .number)
    #expect(options("SETEX k 9 v")?.expiry == .after(milliseconds: 9000))
    #expect(options("PSETEX k 9 v")?.expiry == .after(milliseconds: 9))
  }

  @Test("words in one line may be quoted as Redis has it")
  func inlineQuotes() {
    let rows: [(String, [String])] = [
      ("a b", ["a", "b"]), ("  a\t b  ", ["a", "b"]), ("\"a b\" 'c d'", ["a b", "c d"]),
      ("a\"b c\" d", ["ab c", "d"]), ("\"\\x41\\n\\r\\t\\\\\\\"\\q\"", ["A\n\r\t\\\"q"]),
      ("'a\\'b\\n'", ["a'b\\n"]), ("\"\" ''", ["", ""]), ("\"\\xZZ\"", ["xZZ"]),
    ]
    for (line, words) in rows {
      let expected = RESPCommand.mget(words.map { bytes($0) })
      #expect(told("MGET \(line)\r\n") == [.event(.command(expected))], "\(line)")
    }
  }

  @Test("numbers are read the one way that Redis writes them")
  func numbers() {
    let right: [(String, Int64)] = [
      ("0", 0), ("7", 7), ("-7", -7), ("9223372036854775807", .max), ("-9223372036854775808", .min),
    ]
    for (text, number) in right { #expect(Int64(respDigits: text.utf8) == number) }
    let wrong = [
      "", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "0x1", "9223372036854775808",
      "-9223372036854775809", "99999999999999999999999",
    ]
    for text in wrong { #expect(Int64(respDigits: text.utf8) == nil, "\(text)") }
  }

  @Test("a description of a login does not show the password")
  func secrets() {
    let login = RESPCredentials(user: "tenant", password: bytes("hidden"))
    let hello = RESPHello(version: nil, credentials: login, clientName: nil)
    #expect(!"\(RESPCommand.auth(login))".contains("104"))
    #expect(!String(reflecting: RESPCommand.hello(hello)).contains("104"))
    #expect("\(login)".contains("tenant"))
  }
}
