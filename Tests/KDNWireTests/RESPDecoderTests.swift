import KDNCore
import KDNWire
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Commands of all kinds behind each other: counted and typed, good and bad, with values.
private let session: [UInt8] =
  multibulk("HELLO 3 AUTH tenant secret SETNAME worker")
  + multibulk("SET key value")
  + bytes("PING\r\n\r\n  \nset  'a key'  \"a\\x00\\n value\"  ex 10\n")
  + multibulk(["SET", "long", String(repeating: "payload ", count: 12), "PX", "1500", "NX"])
  + multibulk("GET key") + bytes("*0\r\n*-1\r\n") + multibulk("MGET a b c")
  + multibulk("NOSUCH command here") + multibulk("get") + multibulk("SET k v EX")
  + multibulk(["SET", "empty", ""]) + multibulk("SETEX k 0 lost") + multibulk("SETNX k v")
  + multibulk("SCAN 0 MATCH a* COUNT 100 TYPE string") + multibulk("PSETEX k 77 v")
  + multibulk(["LPUSH", "list", String(repeating: "x", count: 130)]) + multibulk("QUIT")

private func begins(_ key: String, _ count: Int) -> Told {
  .event(.valueBegins(key: bytes(key), bytes: count))
}

@Suite("RESP decoder")
struct RESPDecoderTests {
  @Test("a stream in one piece gives each command, value and refusal in its order")
  func onePiece() {
    let hello = RESPHello(
      version: .three,
      credentials: RESPCredentials(user: "tenant", password: bytes("secret")),
      clientName: "worker")
    var timed = RESPSetOptions()
    timed.expiry = .after(milliseconds: 10_000)
    var conditional = RESPSetOptions()
    conditional.expiry = .after(milliseconds: 1500)
    conditional.condition = .ifAbsent
    var ifAbsent = RESPSetOptions()
    ifAbsent.condition = .ifAbsent
    ifAbsent.reply = .number
    var brief = RESPSetOptions()
    brief.expiry = .after(milliseconds: 77)
    let long = bytes(String(repeating: "payload ", count: 12))
    let scan = RESPScan(cursor: 0, pattern: bytes("a*"), count: 100, type: "string")
    let expected: [Told] = [
      .event(.command(.hello(hello))),
      begins("key", 5), .value(bytes("value")), .event(.valueEnds(RESPSetOptions())),
      .event(.command(.ping(nil))),
      begins("a key", 9), .value(bytes("a\0\n value")), .event(.valueEnds(timed)),
      begins("long", long.count), .value(long), .event(.valueEnds(conditional)),
      .event(.command(.get(bytes("key")))),
      .event(.command(.mget([bytes("a"), bytes("b"), bytes("c")]))),
      .event(
        .refused(
          RESPError(
            "unknown command 'NOSUCH', with args beginning with: 'command' 'here' "))),
      .event(.refused(.wrongArity("get"))),
      begins("k", 1), .value(bytes("v")), .event(.valueRefused(.syntax)),
      begins("empty", 0), .value([]), .event(.valueEnds(RESPSetOptions())),
      begins("k", 4), .value(bytes("lost")), .event(.valueRefused(.invalidExpiry("setex"))),
      begins("k", 1), .value(bytes("v")), .event(.valueEnds(ifAbsent)),
      .event(.command(.scan(scan))),
      begins("k", 1), .value(bytes("v")), .event(.valueEnds(brief)),
      .event(
        .refused(
          RESPError(
            "unknown command 'LPUSH', with args beginning with: 'list' "
              + "'\(String(repeating: "x", count: 121))' "))),
      .event(.command(.quit)),
    ]
    #expect(told(session) == expected)
  }

  @Test(
    "a stream fed in pieces of any one size says the same",
    arguments: [1, 2, 3, 4, 5, 7, 16, 63, 100, 511])
  func drip(_ size: Int) {
    #expect(RESPFeed().told(session.pieces(of: size)) == told(session))
    #expect(RESPFeed(bypasses: true).told(session.pieces(of: size)) == told(session))
  }

  @Test("a stream split at any one point says the same")
  func splits() {
    let expected = told(session)
    for point in 0...session.count {
      let pieces = [session[..<point], session[point...]]
      #expect(RESPFeed(bypasses: true).told(pieces) == expected, "split at \(point)")
    }
  }

  @Test("a stream in random pieces says the same", arguments: 1...20)
  func randomPieces(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var pieces: [ArraySlice<UInt8>] = []
    var start = 0
    while start < session.count {
      let end = min(session.count, start + Int.random(in: 1...90, using: &random))
      pieces.append(session[start..<end])
      start = end
    }
    let feed = RESPFeed(
      bypasses: Bool.random(using: &random), valueStep: Int.random(in: 1...50, using: &random))
    #expect(feed.told(pieces) == told(session))
  }

  @Test("a stream cut off anywhere says the front of what the whole one says")
  func truncated() {
    let whole = told(session)
    for count in 0..<session.count {
      var front = told(Array(session.prefix(count)))
      if case .value(let bytes)? = front.last, case .value(let all) = whole[front.count - 1] {
        #expect(all.starts(with: bytes))
        front[front.count - 1] = whole[front.count - 1]
      }
      #expect(front == Array(whole.prefix(front.count)), "cut off at \(count)")
    }
  }

  @Test("a flipped bit anywhere gives the same in one piece and in drops")
  func flipped() {
    for bit in 0..<session.count * 8 {
      var damaged = session
      damaged[bit / 8] ^= 1 << (bit % 8)
      let whole = told(damaged)
      #expect(RESPFeed().told(damaged.pieces(of: 3)) == whole, "bit \(bit)")
    }
  }

  @Test(
    "random bytes are refused or waited for, and never held beyond the limits", arguments: 1...40)
  func garbage(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let letters = bytes("*$123456789\r\n\r\n -GETS'\"\\x\0\u{7f}")
    var stream: [UInt8] = []
    for _ in 0..<3000 {
      stream.append(letters[Int.random(in: 0..<letters.count, using: &random)])
    }
    var limits = RESPLimits()
    limits.lineBytesMax = 64
    limits.keyBytesMax = 128
    let feed = RESPFeed(limits: limits, bufferedBytesMax: 64 * 8 + 128 + 11)
    #expect(feed.told(stream.pieces(of: 11)) == told(stream, limits: limits))
  }

  @Test("ten thousand commands in one piece all come, in their order")
  func pipeline() {
    let stream = (0..<10_000).flatMap { number in
      number % 2 == 0
        ? multibulk("GET key\(number)") : bytes("GET key\(number)\r\n")
    }
    let expected = (0..<10_000).map { Told.event(.command(.get(bytes("key\($0)")))) }
    #expect(told(stream) == expected)
    #expect(RESPFeed().told(stream.pieces(of: 4096)) == expected)
  }

  @Test("a value that the link reads to its place is accounted for before the next command")
  func bypass() throws {
    var decoder = RESPDecoder()
    decoder.append(bytes("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\n0123456789").span)
    #expect(try decoder.nextEvent() == .valueBegins(key: bytes("k"), bytes: 100))
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.wantedControlBytes == 0)
    #expect(decoder.bufferedValueBytes == 10)
    #expect(decoder.skipBufferedValue() == 10)
    decoder.valueArrived(89)
    #expect(decoder.valueRemaining == 1)
    #expect(try decoder.nextEvent() == nil)
    decoder.valueArrived(1)
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.wantedControlBytes == 2)
    decoder.append(bytes("\r\nPING\r\n").span)
    #expect(try decoder.nextEvent() == .valueEnds(RESPSetOptions()))
    #expect(try decoder.nextEvent() == .command(.ping(nil)))
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.bufferedBytes == 0)
  }

  @Test("how much of an argument is still wanted is told")
  func wanted() throws {
    var decoder = RESPDecoder()
    #expect(decoder.wantedControlBytes == 1)
    decoder.append(bytes("*2\r\n$3\r\nGET\r\n$50\r\nk").span)
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.wantedControlBytes == 51)
    decoder = RESPDecoder()
    decoder.append(bytes("*2\r\n$6\r\nNOSUCH\r\n$1000000\r\nk").span)
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.wantedControlBytes == 1_000_001)
    decoder.append([UInt8](repeating: 1, count: 999_999).span)
    #expect(try decoder.nextEvent() == nil)
    #expect(decoder.bufferedBytes == 0)
    #expect(decoder.wantedControlBytes == 2)
  }

  @Test("after a protocol error the stream gives only that error")
  func staysBroken() {
    var decoder = RESPDecoder()
    decoder.append(bytes("*x\r\n").span)
    let error = RESPError.broken("invalid multibulk length")
    #expect(throws: error) { _ = try decoder.nextEvent() }
    decoder.append(multibulk("PING").span)
    #expect(throws: error) { _ = try decoder.nextEvent() }
    #expect(error.endsConnection)
  }
}
