import KDNControl
import KDNCore
import Testing

@testable import KDNAdmin

@Suite struct GateTests: AdminTesting {
  @Test func ordersNeedTheRightToken() async throws {
    try await serve { endpoint in
      let none = try endpoint.ask("POST", "/reload")
      #expect(none.status == 401)
      #expect(none.fields["www-authenticate"] == #"Bearer realm="kdnd""#)
      #expect(try endpoint.ask("POST", "/reload", token: "wrong").status == 401)
      let basic = ["Authorization": "Basic \(ScriptedControl.token)"]
      #expect(try endpoint.ask("POST", "/reload", fields: basic).status == 401)
      let lower = ["Authorization": "bearer \(ScriptedControl.token)"]
      #expect(try endpoint.ask("POST", "/reload", fields: lower).status == 200)
      #expect(endpoint.control.now.orders == ["reload root@127.0.0.1"])
      #expect(
        endpoint.control.now.turnedAway
          == Array(repeating: "reload nobody 127.0.0.1 unauthorised", count: 3))
    }
  }

  @Test func withoutAnyAdministratorNobodyMayOrder() async throws {
    try await serve(ScriptedControl { $0.hasAdministrators = false }) { endpoint in
      let answer = try endpoint.order("POST", "/reload")
      #expect(answer.status == 403)
      #expect(answer.code == "forbidden")
      #expect(endpoint.control.now.orders.isEmpty)
    }
  }

  @Test func aFewWrongTokensAreAnsweredManyTurnedAwayAndTheRightOneServedMeanwhile() async throws {
    try await serve { endpoint in
      var peers: [RawPeer] = []
      for _ in 0..<30 {
        let peer = try endpoint.connect()
        peer.send("POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer no\r\n\r\n")
        peers.append(peer)
      }
      let right = try endpoint.order("POST", "/reload").status
      #expect(right == 200)
      let answers = try peers.map { try $0.answer().status }
      #expect(answers.allSatisfy { $0 == 401 || $0 == 429 })
      #expect(answers.count { $0 == 401 } >= 20)
    }
  }

  @Test func onAnExposedBindingQuestionsNeedATokenToo() async throws {
    try await serve(host: "0.0.0.0") { endpoint in
      for path in ["/stats", "/metrics", "/objects?namespace=alpha", "/config", "/openapi.json"] {
        let statuses = (
          try endpoint.ask("GET", path).status, try endpoint.order("GET", path).status
        )
        #expect(statuses == (401, 200), "\(path)")
      }
      for path in ["/healthz", "/readyz", "/version", "/"] {
        let status = try endpoint.ask("GET", path).status
        #expect(status == 200, "\(path)")
      }
    }
  }

  @Test(arguments: ["evil.example", "127.0.0.2", "localhost.evil.example", "10.0.0.1:80"])
  func aForeignHostIsMisdirected(host: String) async throws {
    try await serve { endpoint in
      let answer = try endpoint.ask("GET", "/stats", fields: ["Host": host])
      #expect(answer.status == 421)
      #expect(answer.field == "host")
    }
  }

  @Test(arguments: ["LOCALHOST", "localhost.:1", "127.0.0.1", "[::1]:9", "Kdn.Example:443"])
  func loopbackNamesAndConfiguredHostsAreServed(host: String) async throws {
    try await serve(hosts: ["kdn.example"]) { endpoint in
      let answer = try endpoint.ask("GET", "/stats", fields: ["Host": host])
      #expect(answer.status == 200)
    }
  }

  @Test func hostsCanBeReplacedWhileServing() async throws {
    try await serve(hosts: ["old.example"]) { endpoint in
      endpoint.server.setHosts(["new.example"])
      let old = try endpoint.ask("GET", "/stats", fields: ["Host": "old.example"])
      let new = try endpoint.ask("GET", "/stats", fields: ["Host": "new.example"])
      #expect((old.status, new.status) == (421, 200))
    }
  }

  @Test(arguments: [
    (["Origin": "https://evil.example"], 403), (["Origin": "null"], 403),
    (["Sec-Fetch-Site": "cross-site"], 403), (["Sec-Fetch-Site": "same-site"], 403),
    (["Origin": "http://localhost:9"], 403), (["Host": "localhost:9"], 200),
    (["Host": "localhost:9", "Origin": "http://localhost:9"], 200),
    (["Sec-Fetch-Site": "same-origin"], 200), (["Sec-Fetch-Site": "none"], 200),
  ])
  func ordersFromPagesOfOtherSitesAreRefused(fields: [String: String], status: Int) async throws {
    try await serve { endpoint in
      let answer = try endpoint.ask(
        "POST", "/reload", token: ScriptedControl.token, fields: fields)
      #expect(answer.status == status)
      #expect(endpoint.control.now.orders.isEmpty == (status != 200))
    }
  }

  @Test(arguments: ["", "a b", "a/b", "[::1", "[::1]x", "a:b", "a:123456", "host:80:80", "ä"])
  func malformedHostsHaveNoName(host: String) {
    #expect(HostRule.name(of: host) == nil)
  }
}

@Suite struct TokenPacingTests {
  @Test func answersToWrongTokensOfOneAddressAreSpacedAndThenRefused() {
    var pacing = TokenPacing()
    let clock = ManualClock()
    #expect(pacing.refusal(of: "a", now: clock.now()) == nil)
    let waits = (0..<20).map { _ in pacing.noteWrongToken(from: "a", now: clock.now()) }
    #expect(waits == (1...20).map { UInt64($0) * 100 })
    #expect(pacing.refusal(of: "a", now: clock.now()) == 100)
    #expect(pacing.refusal(of: "b", now: clock.now()) == nil)
    clock.advance(milliseconds: 100)
    #expect(pacing.refusal(of: "a", now: clock.now()) == nil)
    clock.advance(milliseconds: 10_000)
    #expect(pacing.noteWrongToken(from: "a", now: clock.now()) == 100)
  }

  @Test func addressesBeyondTheLimitShareAPlaceUntilOthersAreForgotten() {
    var pacing = TokenPacing()
    let clock = ManualClock()
    for number in 0..<TokenPacing.addressesMax {
      _ = pacing.noteWrongToken(from: "\(number)", now: clock.now())
    }
    #expect(pacing.noteWrongToken(from: "x", now: clock.now()) == 100)
    #expect(pacing.noteWrongToken(from: "y", now: clock.now()) == 200)
    clock.advance(milliseconds: 1000)
    #expect(pacing.noteWrongToken(from: "y", now: clock.now()) == 100)
    #expect(pacing.noteWrongToken(from: "x", now: clock.now()) == 100)
  }
}
