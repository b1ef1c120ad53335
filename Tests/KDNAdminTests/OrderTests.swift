import KDNControl
import Testing

@testable import KDNAdmin

private let hash = String(repeating: "a", count: 64)
private let layout = String(repeating: "b", count: 32)

@Suite struct OrderTests: AdminTesting {
  @Test(arguments: [
    ("POST", "/reload", "", 200, "reload root@127.0.0.1"),
    ("POST", "/reload", "{}", 200, "reload root@127.0.0.1"),
    ("POST", "/drain", "{}", 202, "drain root@127.0.0.1"),
    (
      "POST", "/purge", #"{"namespace":"a","hashes":["\#(hash)"],"with_descendants":true}"#, 200,
      "purge a 1 root@127.0.0.1"
    ),
    ("POST", "/purge", #"{"namespace":"a","all":true}"#, 200, "purge a -1 root@127.0.0.1"),
    (
      "POST", "/purge", #"{"namespace":"a","layouts":["\#(layout)"]}"#, 200,
      "purge a -1 root@127.0.0.1"
    ),
    (
      "POST", "/pin", #"{"namespace":"a","hashes":["\#(hash)"],"ttl_milliseconds":5}"#, 200,
      "pin 1 5 root@127.0.0.1"
    ),
    (
      "POST", "/recode", #"{"namespace":"a","codec":"exact","all":true,"tiers":["ram"]}"#, 202,
      #"recode a exact ["ram"] root@127.0.0.1"#
    ),
    (
      "POST", "/recode", #"{"namespace":"a","codec":"raw","hashes":["\#(hash)"]}"#, 202,
      "recode a raw [] root@127.0.0.1"
    ),
    ("POST", "/recode/cancel", #"{"namespace":"a"}"#, 200, "cancel a root@127.0.0.1"),
    ("POST", "/loglevel", #"{"level":"debug"}"#, 200, "loglevel debug root@127.0.0.1"),
  ])
  func anOrderReachesTheDaemonInTheNameOfItsAdministrator(
    method: String, path: String, body: String, status: Int, order: String
  ) async throws {
    try await serve { endpoint in
      let answer = try endpoint.order(method, path, body)
      #expect(answer.status == status, "\(answer.body)")
      #expect(endpoint.control.now.orders == [order])
    }
  }

  @Test(arguments: [
    (
      "POST", "/namespaces", #"{"name":"a","limits":{"ram_bytes_max":5}}"#, 201,
      NamespaceChange.add(name: "a", limits: .init(ramBytesMax: 5))
    ),
    ("POST", "/namespaces", #"{"name":"a"}"#, 201, .add(name: "a", limits: .init())),
    (
      "PUT", "/namespaces/a.b/limits", #"{"requests_per_second":7,"disk_bytes_max":null}"#, 200,
      .setLimits(name: "a.b", limits: .init(requestsPerSecond: 7))
    ),
    (
      "POST", "/namespaces/a/tokens", #"{"sha256":"\#(hash.uppercased())"}"#, 200,
      .addToken(name: "a", sha256: hash, expiresInSeconds: nil)
    ),
    (
      "POST", "/namespaces/a/rotate", #"{"sha256":"\#(hash)","grace_seconds":60}"#, 200,
      .rotate(name: "a", sha256: hash, graceSeconds: 60)
    ),
    (
      "DELETE", "/namespaces/a/tokens/0123456789ab", "", 200,
      .revokeToken(name: "a", id: "0123456789ab")
    ),
    ("DELETE", "/namespaces/a", "", 200, .remove(name: "a")),
  ])
  func tenantsAreChangedAsTheOrderSays(
    method: String, path: String, body: String, status: Int, change: NamespaceChange
  ) async throws {
    try await serve { endpoint in
      let answer = try endpoint.order(method, path, body)
      #expect(answer.status == status, "\(answer.body)")
      #expect(answer.object["tokens"] != nil)
      #expect(endpoint.control.now.orders == ["\(change) root@127.0.0.1"])
    }
  }

  @Test(arguments: [
    ("/purge", #"{"namespace":"a","all":true,"speed":1}"#, "speed"),
    ("/purge", #"{"namespace":"a","withDescendants":true,"all":true}"#, "withDescendants"),
    ("/purge", #"{"namespace":"a"}"#, "hashes"),
    ("/purge", #"{"namespace":"a","all":true,"hashes":["\#(hash)"]}"#, "hashes"),
    ("/purge", #"{"namespace":"a","all":true,"with_descendants":true}"#, "with_descendants"),
    ("/purge", #"{"namespace":"a","hashes":["abc"]}"#, "hashes"),
    ("/purge", #"{"namespace":"a","hashes":[]}"#, "hashes"),
    ("/purge", #"{"namespace":"a","layouts":["\#(hash)"]}"#, "layouts"),
    ("/purge", #"{"namespace":"","all":true}"#, "namespace"),
    ("/purge", #"{"all":true}"#, "namespace"),
    ("/purge", #"{"namespace":5,"all":true}"#, "namespace"),
    ("/purge", #"[]"#, ""), ("/purge", "null", ""), ("/purge", "{", ""), ("/purge", "\u{0}", ""),
    ("/recode", #"{"namespace":"a","codec":"exact"}"#, "all"),
    ("/recode", #"{"namespace":"a","codec":"exact","all":true,"document":"d"}"#, "all"),
    ("/recode", #"{"namespace":"a","all":true}"#, "codec"),
    ("/recode", #"{"namespace":"a","codec":"exact","document":""}"#, "document"),
    ("/recode", #"{"namespace":"a","codec":"exact","layouts":["00"]}"#, "layouts"),
    ("/recode", #"{"namespace":"a","codec":"exact","all":true,"tiers":["tape"]}"#, "tiers"),
    ("/recode", #"{"namespace":"a","codec":"exact","all":true,"tiers":[]}"#, "tiers"),
    ("/recode", #"{"namespace":"a","codec":"exact","all":true,"wait":true}"#, "wait"),
    ("/recode/cancel", #"{"namespace":"a b"}"#, "namespace"),
    ("/reload", #"{"now":true}"#, "now"), ("/drain", "[]", ""),
    ("/pin", #"{"namespace":"a","hashes":["\#(hash)"],"ttl_milliseconds":-1}"#, "ttl_milliseconds"),
    ("/loglevel", "{}", "level"),
    ("/namespaces", #"{"name":"a","limits":{"ram":1}}"#, "limits.ram"),
    ("/namespaces", #"{"name":"a","limits":{"ram_bytes_max":-1}}"#, "limits.ram_bytes_max"),
    ("/namespaces", #"{"name":"a b"}"#, "name"),
    ("/namespaces/a/tokens", #"{"sha256":"abc"}"#, "sha256"),
    ("/namespaces/a%20b/tokens", #"{"sha256":"\#(hash)"}"#, "namespace"),
  ])
  func aFaultyBodyIsRefusedByTheNameOfItsKey(
    path: String, body: String, field: String
  ) async throws {
    try await serve { endpoint in
      let answer = try endpoint.order("POST", path, body)
      #expect(answer.status == 400)
      #expect(answer.field == field, "\(answer.body)")
      #expect(endpoint.control.now.orders.isEmpty)
      let told = endpoint.control.now.turnedAway
      #expect(told.count == 1 && told[0].hasSuffix("root 127.0.0.1 bad_request"))
    }
  }

  @Test(arguments: [
    (ControlFault.Code.badRequest, 400), (.notFound, 404), (.conflict, 409), (.overQuota, 429),
    (.busy, 503), (.unavailable, 503), (.forbidden, 403),
  ])
  func whatTheDaemonRefusesHasTheStatusOfItsCode(
    code: ControlFault.Code, status: Int
  ) async throws {
    let fault = ControlFault(code, field: "here", "not so")
    try await serve(ScriptedControl { $0.fault = fault }) { endpoint in
      let answer = try endpoint.order("POST", "/reload")
      #expect(answer.status == status)
      #expect(answer.code == code.rawValue)
      #expect(answer.field == "here")
      #expect(endpoint.control.now.turnedAway.isEmpty)
    }
  }

  @Test func aBodyThatIsNotJSONByItsTypeIsRefused() async throws {
    try await serve { endpoint in
      let fields = ["Content-Type": "application/x-www-form-urlencoded"]
      let answer = try endpoint.ask(
        "POST", "/reload", "{}", token: ScriptedControl.token, fields: fields)
      #expect(answer.status == 415)
      let fine = ["Content-Type": "Application/JSON ; charset=utf-8"]
      let other = try endpoint.ask(
        "POST", "/reload", "{}", token: ScriptedControl.token, fields: fine)
      #expect(other.status == 200)
    }
  }
}
