import KDNCore
import KDNWire
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("RESP replies")
struct RESPReplyTests {
  private let two = RESPEncoder()
  private let three = RESPEncoder(version: .three)

  @Test("each reply is written as its version has it")
  func forms() {
    #expect(replyText { two.ok(to: &$0) } == "+OK\r\n")
    #expect(replyText { two.simple("PONG", to: &$0) } == "+PONG\r\n")
    #expect(replyText { two.integer(-12, to: &$0) } == ":-12\r\n")
    #expect(replyText { two.bulk("", to: &$0) } == "$0\r\n\r\n")
    #expect(replyText { two.bulk([0x61, 13, 10], to: &$0) } == "$3\r\na\r\n\r\n")
    #expect(replyText { two.bulkHeader(bytes: 1024, to: &$0) } == "$1024\r\n")
    #expect(replyText { two.arrayHeader(count: 0, to: &$0) } == "*0\r\n")
    #expect(replyText { two.null(to: &$0) } == "$-1\r\n")
    #expect(replyText { three.null(to: &$0) } == "_\r\n")
    #expect(replyText { two.mapHeader(count: 3, to: &$0) } == "*6\r\n")
    #expect(replyText { three.mapHeader(count: 3, to: &$0) } == "%3\r\n")
    #expect(replyText { two.setHeader(count: 3, to: &$0) } == "*3\r\n")
    #expect(replyText { three.setHeader(count: 3, to: &$0) } == "~3\r\n")
    #expect(replyText { two.text("a\n", to: &$0) } == "$2\r\na\n\r\n")
    #expect(replyText { three.text("a\n", to: &$0) } == "=6\r\ntxt:a\n\r\n")
  }

  @Test("an error is one line, whatever its text is made of")
  func errors() {
    #expect(
      replyText { two.error(.syntax, to: &$0) } == "-ERR syntax error\r\n")
    let odd = RESPError("CODE", "a\r\nb\nc\rd")
    #expect(replyText { two.error(odd, to: &$0) } == "-CODE a  b c d\r\n")
    #expect(replyText { two.error(RESPError("CODE", ""), to: &$0) } == "-CODE\r\n")
  }

  @Test(
    "a padded miss is as long as the head of the value, and a whole reply",
    arguments: [0, 9, 10, 99, 100, 1024, 65_536, 4 << 20, 512 << 20])
  func paddedMiss(_ expected: Int) {
    let miss = replyText { two.paddedMiss(expectedValueBytes: expected, to: &$0) }
    #expect(miss.utf8.count == "$\(expected)\r\n".utf8.count)
    #expect(miss.hasSuffix("\r\n"))
    #expect(miss != "$\(expected)\r\n")
    #expect(miss.hasPrefix("-") || miss == "$-1\r\n")
  }

  @Test("a padded error is as long as it is told to be, and no reply that the client hopes for")
  func paddedError() {
    #expect(replyText { two.paddedError(replyBytes: 4, to: &$0) } == "-E\r\n")
    #expect(replyText { two.paddedError(replyBytes: 5, to: &$0) } == "-ER\r\n")
    #expect(replyText { two.paddedError(replyBytes: 9, to: &$0) } == "-ERR   \r\n")
  }

  // MARK: Globs

  @Test("a glob matches what Redis lets it match")
  func globs() {
    let rows: [(String, String, Bool)] = [
      ("*", "", true), ("*", "abc", true), ("", "", true), ("", "a", false), ("a*", "abc", true),
      ("a*c", "abbc", true), ("a*c", "abbd", false), ("*a*b*", "xxaxxbxx", true),
      ("h?llo", "hello", true), ("h?llo", "hllo", false), ("h[ae]llo", "hallo", true),
      ("h[^e]llo", "hello", false), ("h[^e]llo", "hxllo", true), ("h[a-c]llo", "hbllo", true),
      ("h[c-a]llo", "hbllo", true), ("a\\*", "a*", true), ("a\\*", "ab", false),
      ("[\\]]", "]", true), ("[ab", "a", true), ("[ab", "c", false), ("a\\", "a\\", true),
      ("**", "anything", true), ("A", "a", false),
    ]
    for (pattern, name, isMatch) in rows {
      #expect(
        RESPGlob(bytes(pattern)).matches(bytes(name)) == isMatch, "\(pattern) against \(name)")
    }
    #expect(RESPGlob(bytes("MAX*"), ignoringCase: true).matches(bytes("maxmemory")))
  }

  @Test("a glob of very many stars is done in time of its length times the name's")
  func hostileGlob() {
    let pattern = bytes(String(repeating: "a*", count: 1000) + "b")
    #expect(!RESPGlob(pattern).matches([UInt8](repeating: UInt8(ascii: "a"), count: 5000)))
  }

  // MARK: INFO and COMMAND

  @Test("INFO gives the sections that are asked for, all if none is, and nothing for unknown ones")
  func info() {
    var info = RESPInfo()
    info.version = "1.2.3"
    info.keys = 5
    info.expiringKeys = 2
    info.hitsTotal = 7
    let whole = info.text(sections: [])
    #expect(whole == info.text(sections: ["everything", "server"]))
    #expect(whole.hasPrefix("# Server\r\nredis_version:\(RESPConversation.redisVersion)\r\n"))
    #expect(whole.contains("\r\n\r\n# Replication\r\nrole:master\r\n"))
    #expect(whole.contains("keyspace_hits:7\r\n"))
    #expect(whole.hasSuffix("# Keyspace\r\ndb0:keys=5,expires=2,avg_ttl=0\r\n"))
    #expect(info.text(sections: ["bogus"]).isEmpty)
    #expect(
      info.text(sections: ["clients", "bogus"])
        == "# Clients\r\nconnected_clients:0\r\nmaxclients:0\r\n")
  }

  @Test("every command has its facts, and its arity is that of the refusals")
  func facts() {
    for name in RESPCommandName.allCases {
      #expect(!name.facts.summary.isEmpty, "\(name)")
      #expect(name.facts.arity != 0)
      let count = abs(name.facts.arity)
      #expect(name.accepts(argumentCount: count))
      #expect(!name.accepts(argumentCount: count - 1))
      #expect(name.accepts(argumentCount: count + 1) == (name.facts.arity < 0))
      #expect(RESPCommandName(name.rawValue.uppercased().utf8) == name)
    }
  }

  @Test("COMMAND tells of known commands and gives null for others")
  func commandTable() {
    let row =
      "*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
      + "*0\r\n*0\r\n*0\r\n*0\r\n"
    #expect(
      replyText { two.commandTable(.info(["get", "nosuch"]), to: &$0) } == "*2\r\n\(row)$-1\r\n")
    let count = RESPCommandName.allCases.count
    #expect(replyText { two.commandTable(.count, to: &$0) } == ":\(count)\r\n")
    #expect(replyText { two.commandTable(.all, to: &$0) }.hasPrefix("*\(count)\r\n*10\r\n"))
    #expect(replyText { two.commandTable(.list, to: &$0) }.contains("\r\n$3\r\nget\r\n"))
    #expect(
      replyText { three.commandTable(.docs(["get", "nosuch"]), to: &$0) }
        == "%1\r\n$3\r\nget\r\n%2\r\n$7\r\nsummary\r\n$21\r\nReturns a key's value\r\n"
        + "$5\r\ngroup\r\n$6\r\nstring\r\n")
  }
}

@Suite("RESP conversation")
struct RESPConversationTests {
  private var conversation = RESPConversation(
    connectionID: 7, peer: "127.0.0.1:5000", local: "127.0.0.1:6379")

  private mutating func answer(_ command: RESPCommand) -> String? {
    var isAnswered = false
    let text = replyText { isAnswered = conversation.answer(command, to: &$0) }
    return isAnswered ? text : nil
  }

  @Test("what needs no store is answered, the rest is left to the session")
  mutating func answers() {
    #expect(answer(.ping(nil)) == "+PONG\r\n")
    #expect(answer(.ping(bytes("hi"))) == "$2\r\nhi\r\n")
    #expect(answer(.echo(bytes("hi"))) == "$2\r\nhi\r\n")
    #expect(answer(.select(0)) == "+OK\r\n")
    #expect(answer(.client(.id)) == ":7\r\n")
    #expect(answer(.client(.getName)) == "$-1\r\n")
    #expect(answer(.client(.setName("worker"))) == "+OK\r\n")
    #expect(answer(.client(.getName)) == "$6\r\nworker\r\n")
    #expect(answer(.client(.ignored)) == "+OK\r\n")
    #expect(answer(.get(bytes("k"))) == nil)
    #expect(answer(.quit) == nil)
    #expect(answer(.info([])) == nil)
  }

  @Test("HELLO changes the version and tells what Redis tells")
  mutating func hello() {
    let hello = RESPHello(version: .three, credentials: nil, clientName: "n")
    let text = replyText { conversation.greet(hello, to: &$0) }
    let expected =
      "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n"
      + "$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n"
      + "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
      + "$7\r\nmodules\r\n*0\r\n"
    #expect(text == expected)
    #expect(conversation.encoder.version == .three)
    #expect(conversation.clientName == "n")
    let again = RESPHello(version: nil, credentials: nil, clientName: nil)
    #expect(replyText { conversation.greet(again, to: &$0) }.contains("proto\r\n:3"))
    #expect(replyText { conversation.reset(to: &$0) } == "+RESET\r\n")
    #expect(conversation.encoder.version == .two)
    #expect(answer(.client(.getName)) == "$-1\r\n")
  }

  @Test("CLIENT INFO shows what the client has said")
  mutating func clientInfo() {
    conversation.userName = "tenant"
    _ = answer(.client(.setName("worker")))
    _ = answer(.client(.setLibraryName("redis-py")))
    _ = answer(.client(.setLibraryVersion("8.1")))
    let line =
      "id=7 addr=127.0.0.1:5000 laddr=127.0.0.1:6379 name=worker db=0 user=tenant"
      + " lib-name=redis-py lib-ver=8.1 resp=2\n"
    #expect(answer(.client(.info)) == "$\(line.utf8.count)\r\n\(line)\r\n")
  }

  @Test("CONFIG GET shows the parameters that any of the patterns matches, once each")
  mutating func configuration() {
    conversation.configuration = [("maxmemory", "5"), ("save", "")]
    let both = "*4\r\n$9\r\nmaxmemory\r\n$1\r\n5\r\n$4\r\nsave\r\n$0\r\n\r\n"
    #expect(answer(.configGet([bytes("*"), bytes("SAVE")])) == both)
    #expect(answer(.configGet([bytes("nosuch")])) == "*0\r\n")
  }

  @Test("a connection is plain until it says what LMCache's native client never says")
  mutating func plain() {
    let login = RESPCredentials(user: nil, password: [])
    let key = bytes("k")
    for command in [RESPCommand.auth(login), .get(key), .exists([key]), .delete([key])] {
      _ = answer(command)
      #expect(conversation.isPlain)
    }
    for command in [RESPCommand.ping(nil), .exists([key, key]), .mget([key]), .client(.id)] {
      var other = RESPConversation(connectionID: 1, peer: "", local: "")
      _ = replyText { _ = other.answer(command, to: &$0) }
      #expect(!other.isPlain, "\(command)")
    }
    let hello = RESPHello(version: nil, credentials: nil, clientName: nil)
    _ = replyText { conversation.greet(hello, to: &$0) }
    #expect(!conversation.isPlain)
  }
}
