import KDNCore
import KDNWire
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A stream and the protocol error that it ends in.
struct BrokenStream: Sendable, CustomTestStringConvertible {
  let stream: String
  let problem: String
  var testDescription: String { stream.prefix(40).debugDescription }

  init(_ stream: String, _ problem: String) {
    self.stream = stream
    self.problem = problem
  }
}

private let digits = String(repeating: "1", count: 100)
private let longLine = String(repeating: "1", count: 65_536)

private let brokenStreams = [
  BrokenStream("*1048577\r\n", "invalid multibulk length"),
  BrokenStream("*\r\n", "invalid multibulk length"),
  BrokenStream("*+1\r\n", "invalid multibulk length"),
  BrokenStream("* 1\r\n", "invalid multibulk length"),
  BrokenStream("*01\r\n", "invalid multibulk length"),
  BrokenStream("*1\n$4\nPING\n", "invalid multibulk length"),
  BrokenStream("*\n", "invalid multibulk length"),
  BrokenStream("*10\n", "invalid multibulk length"),
  BrokenStream("*1\r\n$41\n", "invalid bulk length"),
  BrokenStream("*9223372036854775808\r\n", "invalid multibulk length"),
  BrokenStream("*\(digits)\r\n", "invalid multibulk length"),
  BrokenStream("*\(longLine)", "too big mbulk count string"),
  BrokenStream("*1\r\n$\r\n", "invalid bulk length"),
  BrokenStream("*1\r\n$-1\r\n", "invalid bulk length"),
  BrokenStream("*1\r\n$-0\r\n", "invalid bulk length"),
  BrokenStream("*1\r\n$4\nPING\r\n", "invalid bulk length"),
  BrokenStream("*1\r\n$536870913\r\n", "invalid bulk length"),
  BrokenStream("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n", "invalid bulk length"),
  BrokenStream("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-5\r\n", "invalid bulk length"),
  BrokenStream("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(digits)\r\n", "invalid bulk length"),
  BrokenStream("*1\r\n$\(longLine)", "too big bulk count string"),
  BrokenStream("*1\r\nPING\r\n", "expected '$', got 'P'"),
  BrokenStream("*1\r\n\r\n", "expected '$', got ' '"),
  BrokenStream("*1\r\n$4\r\nPINGG\n", "expected a line end behind a bulk string"),
  BrokenStream("*1\r\n$4\r\nPING\r\r", "expected a line end behind a bulk string"),
  BrokenStream(longLine + "1", "too big inline request"),
  BrokenStream("GET \"open\r\n", "unbalanced quotes in request"),
  BrokenStream("GET 'open\r\n", "unbalanced quotes in request"),
  BrokenStream("GET \"a\"b\r\n", "unbalanced quotes in request"),
  BrokenStream("GET 'a'b\r\n", "unbalanced quotes in request"),
  BrokenStream("GET \"open\\\r\n", "unbalanced quotes in request"),
  BrokenStream("POST / HTTP/1.1\r\n", "this is no HTTP server"),
  BrokenStream("host: localhost\r\n", "this is no HTTP server"),
]

@Suite("RESP limits")
struct RESPLimitTests {
  @Test("a stream that cannot be followed ends in Redis's protocol error", arguments: brokenStreams)
  func broken(_ row: BrokenStream) {
    let expected = [Told.broken(.broken(row.problem))]
    let stream = bytes(row.stream)
    let ends = told(stream).last.map { [$0] }
    #expect(ends == expected)
    #expect(RESPFeed().told(stream.pieces(of: 1)).last.map { [$0] } == expected)
  }

  @Test("as many arguments as are allowed are waited for")
  func mostArguments() {
    #expect(told("*1048576\r\n$3\r\nDEL\r\n$1\r\nk\r\n").isEmpty)
  }

  @Test("a line of the longest length is taken, one byte more is not")
  func longestLine() {
    let word = String(repeating: "k", count: 65_536 - 4)
    #expect(told("GET \(word)\n") == [.event(.command(.get(bytes(word))))])
    #expect(told("GET \(word)k\n") == [.broken(.broken("too big inline request"))])
  }

  @Test("a key of the longest length is taken; a longer one is refused and the next command comes")
  func longestKey() {
    let key = String(repeating: "k", count: 65_536)
    let tooLong = RESPError.argumentTooLong(limit: 65_536)
    #expect(told(multibulk(["GET", key])) == [.event(.command(.get(bytes(key))))])
    let stream = multibulk(["GET", key + "k"]) + multibulk("PING")
    #expect(told(stream) == [.event(.refused(tooLong)), .event(.command(.ping(nil)))])
    let set = multibulk(["SET", key + "k", "value"]) + multibulk("PING")
    #expect(told(set) == [.event(.refused(tooLong)), .event(.command(.ping(nil)))])
    #expect(RESPFeed().told(set.pieces(of: 1000)) == told(set))
  }

  @Test("arguments of a command that is refused already are not held")
  func refusedArguments() throws {
    var decoder = RESPDecoder()
    decoder.append((bytes("*3\r\n$3\r\nGET\r\n$60000\r\n") + bytes(digits)).span)
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.bufferedBytes == 0)
    #expect(decoder.wantedControlBytes == 60_000 - 100 + 2)
  }

  @Test("memory is held for an unfinished command and none for a finished one")
  func heldMemory() throws {
    var decoder = RESPDecoder()
    let keys = Array(repeating: String(repeating: "k", count: 1000), count: 50)
    let command = multibulk(["MGET"] + keys)
    decoder.append(Array(command.dropLast(2)).span)
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.heldBytes == 50 * 1032)
    decoder.append([13, 10].span)
    #expect(try decoder.nextEvent() != nil)
    #expect(decoder.heldBytes == 0)
  }

  @Test("an option that is too long takes the value back")
  func longOption() {
    let stream = multibulk(["SET", "k", "v", String(repeating: "X", count: 65_537)])
    let refused = RESPDecoder.Event.valueRefused(.argumentTooLong(limit: 65_536))
    #expect(told(stream).last == .event(refused))
  }

  @Test("a command with more memory in its keys than the limit is refused and not kept")
  func largestCommand() {
    var limits = RESPLimits()
    limits.commandBytesMax = 10 * (32 + 4)
    let keys = Array(repeating: "four", count: 10)
    let known = told(multibulk(["EXISTS"] + keys), limits: limits)
    #expect(known == [.event(.command(.exists(keys.map { bytes($0) })))])
    let stream = multibulk(["EXISTS"] + keys + ["x"]) + multibulk("PING")
    let refused = RESPError.commandTooLong(limit: 360)
    let expected: [Told] = [.event(.refused(refused)), .event(.command(.ping(nil)))]
    #expect(told(stream, limits: limits) == expected)
  }

  @Test("a huge argument of a command that nobody knows passes through without being held")
  func hugeUnknown() throws {
    var decoder = RESPDecoder()
    decoder.append(bytes("*2\r\n$6\r\nNOSUCH\r\n$536870912\r\n").span)
    let piece = [UInt8](repeating: UInt8(ascii: "z"), count: 4 << 20)
    for _ in 0..<128 {
      decoder.append(piece.span)
      #expect(try decoder.nextEvent() == nil)
      #expect(decoder.bufferedBytes == 0)
    }
    decoder.append([13, 10].span)
    let front = String(repeating: "z", count: 128)
    let text = "unknown command 'NOSUCH', with args beginning with: '\(front)' "
    #expect(try decoder.nextEvent() == .refused(RESPError(text)))
  }

  @Test("an unknown command with very many arguments repeats only the first of them")
  func manyUnknown() {
    let stream = multibulk(["FOO"] + Array(repeating: "", count: 100_000))
    let list = String(repeating: "'' ", count: 43)
    let text = "unknown command 'FOO', with args beginning with: \(list)"
    #expect(told(stream) == [.event(.refused(RESPError(text)))])
  }

  @Test("a value of 512 MiB is announced, and its bytes are not the decoder's")
  func largestValue() throws {
    var decoder = RESPDecoder()
    decoder.append(bytes("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n").span)
    #expect(try decoder.nextEvent() == .valueBegins(key: bytes("k"), bytes: 512 << 20))
    decoder.valueArrived(512 << 20)
    decoder.append(bytes("\r\n").span)
    #expect(try decoder.nextEvent() == .valueEnds(RESPSetOptions()))
  }

  // MARK: Strangers

  private let stranger = RESPFeed(isStranger: true)

  @Test("a stranger may only log in; a value of his is dropped and refused")
  func strangers() {
    let stream =
      multibulk("SET k v") + multibulk("GET k") + multibulk("PING") + bytes("ECHO x\r\n")
      + multibulk("NOSUCH") + multibulk("GET") + multibulk("AUTH p") + multibulk("RESET")
    let refused = Told.event(.refused(.noAuthentication))
    let login = RESPCredentials(user: nil, password: bytes("p"))
    #expect(
      stranger.told([stream[...]]) == [
        refused, refused, refused, refused,
        .event(.refused(RESPError("unknown command 'NOSUCH', with args beginning with: "))),
        .event(.refused(.wrongArity("get"))),
        .event(.command(.auth(login))), .event(.command(.reset)),
      ])
    #expect(stranger.told(stream.pieces(of: 1)) == stranger.told([stream[...]]))
  }

  @Test("a stranger's command that is larger than a login costs the connection")
  func largeStrangers() {
    let many = bytes("*11\r\n")
    #expect(
      stranger.told([many[...]]) == [.broken(.broken("unauthenticated multibulk length"))])
    let long = bytes("*2\r\n$4\r\nAUTH\r\n$16385\r\n")
    #expect(stranger.told([long[...]]) == [.broken(.broken("unauthenticated bulk length"))])
    let longest = String(repeating: "p", count: 16_384)
    let login = RESPCredentials(user: nil, password: bytes(longest))
    let expected = [Told.event(.command(.auth(login)))]
    #expect(stranger.told([multibulk(["AUTH", longest])[...]]) == expected)
    let most = Array(bytes("*10\r\n") + multibulk("AUTH").dropFirst(4))
    #expect(stranger.told([most[...]]).isEmpty)
  }

  @Test("a login that is typed may be as long as a line")
  func longTypedLogin() {
    let password = String(repeating: "p", count: 20_000)
    let login = RESPCredentials(user: nil, password: bytes(password))
    let line = bytes("AUTH \(password)\r\n")
    #expect(stranger.told([line[...]]) == [.event(.command(.auth(login)))])
  }

  @Test("what a login allows holds from the next command of the same piece on")
  func login() throws {
    var decoder = RESPDecoder()
    decoder.requiresAuthentication = true
    decoder.append((multibulk("AUTH p") + multibulk("GET k")).span)
    _ = try decoder.nextEvent()
    decoder.requiresAuthentication = false
    #expect(try decoder.nextEvent() == .command(.get(bytes("k"))))
  }
}
