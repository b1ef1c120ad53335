import Testing

@testable import KDNAdmin

private let host = "Host: localhost\r\n"

@Suite struct HostileBytesTests: AdminTesting {
  @Test(arguments: [
    ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\(host)\(host)\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400), ("GET http://x/ HTTP/1.1\r\n\(host)\r\n", 400),
    ("OPTIONS * HTTP/1.1\r\n\(host)\r\n", 400), ("garbage\r\n\r\n", 400),
    ("\u{0}\u{1}\r\n\r\n", 400),
    ("GET / HTTP/9.9\r\n\(host)\r\n", 400), ("GET /\r\n\r\n", 400), ("GET / HTTP/2.0\r\n\r\n", 400),
    ("CONNECT a:1 HTTP/1.1\r\n\(host)\r\n", 400), ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", 400),
    ("GET / HTTP/1.1\r\n\(host)Bad Name: x\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\n\(host)Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    ("POST /reload HTTP/1.1\r\n\(host)Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("POST /reload HTTP/1.1\r\n\(host)Content-Length: -2\r\n\r\n{}", 400),
    ("POST /reload HTTP/1.1\r\n\(host)Content-Length: 2x\r\n\r\n{}", 400),
    (
      "POST /reload HTTP/1.1\r\n\(host)Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
      400
    ),
    ("POST /reload HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400),
    ("POST /reload HTTP/1.1\r\n\(host)Content-Length: 1048577\r\n\r\n", 413),
    ("POST /reload HTTP/1.1\r\n\(host)Content-Length: 9223372036854775807\r\n\r\n", 413),
    ("GET /\(String(repeating: "a", count: 9000)) HTTP/1.1\r\n\(host)\r\n", 431),
    ("GET / HTTP/1.1\r\n\(host)A: \(String(repeating: "a", count: 9000))\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\n\(host)\(String(repeating: "A: b\r\n", count: 70))\r\n", 431),
  ])
  func aMalformedRequestIsAnsweredOnceAndTheConnectionEnds(
    bytes: String, status: Int
  ) async throws {
    try await serve { endpoint in
      let peer = try endpoint.connect()
      peer.send(bytes)
      peer.finish()
      let answer = try peer.answer()
      #expect(answer.status == status)
      #expect(answer.fields["connection"] == "close")
      #expect(answer.code == "bad_request")
      #expect(peer.readToEnd().isEmpty)
      #expect(try endpoint.ask("GET", "/healthz").status == 200)
    }
  }

  @Test func aBodyThatGrowsBeyondTheLimitIsRefusedBeforeItEnds() async throws {
    try await serve { endpoint in
      let peer = try endpoint.connect()
      peer.send("POST /purge HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n")
      let chunk = "10000\r\n" + String(repeating: "a", count: 65_536) + "\r\n"
      for _ in 0..<17 { peer.send(chunk) }
      #expect(try peer.answer().status == 413)
    }
  }

  @Test func aChunkedBodyWithinTheLimitIsTakenWhole() async throws {
    try await serve { endpoint in
      let peer = try endpoint.connect()
      peer.send(
        """
        POST /loglevel HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\
        Authorization: Bearer \(ScriptedControl.token)\r\nContent-Type: application/json\r\n\r\n\
        9\r\n{"level":\r\n7\r\n"info"}\r\n0\r\n\r\n
        """)
      #expect(try peer.answer().body == #"{"level":"info"}"#)
    }
  }

  @Test func whoAsksWhetherToGoOnIsToldTo() async throws {
    try await serve { endpoint in
      let peer = try endpoint.connect()
      peer.send(
        """
        POST /reload HTTP/1.1\r\n\(host)Content-Length: 2\r\nExpect: 100-continue\r\n\
        Authorization: Bearer \(ScriptedControl.token)\r\nContent-Type: application/json\r\n\r\n
        """)
      #expect(try peer.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 100 "))
      peer.send("{}")
      #expect(try peer.answer().status == 200)
    }
  }

  @Test(arguments: ["GET", "GET /stats HTTP/1.1\r\nHos"])
  func aHeadThatDoesNotComeInTimeIsCutOff(front: String) async throws {
    try await serve(requestMilliseconds: 50) { endpoint in
      let peer = try endpoint.connect()
      peer.send(front)
      #expect(try peer.answer().status == 408)
      #expect(peer.readToEnd().isEmpty)
    }
  }

  @Test func aBodyThatDoesNotComeInTimeIsCutOff() async throws {
    try await serve(requestMilliseconds: 50) { endpoint in
      let peer = try endpoint.connect()
      peer.send("POST /purge HTTP/1.1\r\n\(host)Content-Length: 10\r\n\r\n{")
      #expect(try peer.answer().status == 408)
      #expect(peer.readToEnd().isEmpty)
    }
  }

  @Test func aConnectionWithoutARequestIsClosedWithoutAWord() async throws {
    try await serve(idleMilliseconds: 50) { endpoint in
      #expect(try endpoint.connect().readToEnd().isEmpty)
      let peer = try endpoint.connect()
      peer.send("GET /healthz HTTP/1.1\r\n\(host)\r\n")
      #expect(try peer.answer().status == 200)
      #expect(peer.readToEnd().isEmpty)
    }
  }

  @Test func pipelinedRequestsAreAnsweredInTheirOrder() async throws {
    try await serve { endpoint in
      let peer = try endpoint.connect()
      let paths = ["/healthz", "/version", "/nothing", "/readyz", "/config"]
      let all = (0..<40).map { paths[$0 % paths.count] }
      peer.send(all.map { "GET \($0) HTTP/1.1\r\n\(host)\r\n" }.joined())
      for path in all {
        let answer = try peer.answer()
        #expect((answer.status == 404) == (path == "/nothing"))
        #expect(answer.body.contains("\"entries\"") == (path == "/config"))
        #expect(answer.body.contains("\"kdnd\"") == (path == "/version"))
      }
    }
  }

  @Test func nothingIsReadBehindARequestThatWantsToUpgradeOrClose() async throws {
    try await serve { endpoint in
      for field in ["Upgrade: h2c\r\nConnection: upgrade\r\n", "Connection: close\r\n"] {
        let peer = try endpoint.connect()
        let request = "GET /healthz HTTP/1.1\r\n\(host)\(field)\r\n"
        peer.send(request + request)
        let answer = try peer.answer()
        #expect(answer.status == 200)
        #expect(answer.fields["connection"] == "close")
        #expect(peer.readToEnd().isEmpty)
      }
    }
  }

  @Test func anOldClientIsAnsweredInItsOwnVersion() async throws {
    try await serve { endpoint in
      let peer = try endpoint.connect()
      peer.send("GET /healthz HTTP/1.0\r\n\(host)\r\n")
      let text = peer.readToEnd()
      #expect(text.hasPrefix("HTTP/1.0 200 "))
      #expect(text.hasSuffix(#"{"status":"ok"}"#))
    }
  }

  @Test func aClientThatSendsNoMoreStillGetsItsAnswer() async throws {
    try await serve { endpoint in
      let peer = try endpoint.connect()
      peer.send("GET /healthz HTTP/1.1\r\n\(host)\r\n")
      peer.finish()
      #expect(peer.readToEnd().hasSuffix(#"{"status":"ok"}"#))
    }
  }

  @Test func connectionsBeyondTheLimitAreToldSoUntilOneEnds() async throws {
    try await serve(connectionsMax: 2) { endpoint in
      var held: [RawPeer] = []
      for _ in 0..<2 {
        let peer = try endpoint.connect()
        peer.send("GET /healthz HTTP/1.1\r\n\(host)\r\n")
        #expect(try peer.answer().status == 200)
        held.append(peer)
      }
      let late = try endpoint.connect()
      #expect(try late.answer().status == 503)
      #expect(late.readToEnd().isEmpty)
      held[0].finish()
      #expect(held[0].readToEnd().isEmpty)
      #expect(try endpoint.ask("GET", "/healthz").status == 200)
    }
  }
}
