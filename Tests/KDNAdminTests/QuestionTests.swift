import Foundation
import Testing

@testable import KDNAdmin

@Suite struct QuestionTests: AdminTesting {
  @Test(arguments: [
    ("/healthz", "status"), ("/readyz", "is_ready"), ("/readyz?verbose", "checks"),
    ("/version", "version"), ("/stats", "operations"), ("/history", "columns"),
    ("/objects?namespace=alpha", "objects"), ("/documents?namespace=alpha", "documents"),
    ("/namespaces", "namespaces"), ("/slowlog", "requests"), ("/config", "entries"),
    ("/openapi.json", "paths"),
  ])
  func everyQuestionIsAnsweredWithItsJSON(path: String, key: String) async throws {
    try await serve { endpoint in
      let answer = try endpoint.ask("GET", path)
      #expect(answer.status == 200)
      #expect(answer.fields["content-type"] == "application/json")
      #expect(answer.fields["cache-control"] == "no-store")
      #expect(answer.object[key] != nil)
    }
  }

  @Test func aDaemonThatIsNotReadySaysSo() async throws {
    try await serve(ScriptedControl { $0.isReady = false }) { endpoint in
      let answer = try endpoint.ask("GET", "/readyz?verbose=true")
      #expect(answer.status == 503)
      let checks = try #require(answer.object["checks"] as? [[String: Any]])
      #expect(checks.first?["is_ok"] as? Bool == false)
    }
  }

  @Test func metricsComeInTheTextFormatOfPrometheus() async throws {
    try await serve { endpoint in
      let answer = try endpoint.ask("GET", "/metrics")
      #expect(answer.status == 200)
      #expect(answer.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
      #expect(answer.body.contains("\nkdn_connections_max 1024\n"))
      #expect(answer.body.contains("\nprocess_start_time_seconds 1700000000.0\n"))
    }
  }

  @Test func aPageOfObjectsIsAskedForAsTheQuerySays() async throws {
    try await serve { endpoint in
      _ = try endpoint.ask("GET", "/objects?namespace=alpha&cursor=a%2Fb+c&limit=7")
      let query = try #require(endpoint.control.now.queries.first)
      #expect(query == .init(namespace: "alpha", cursor: "a/b c", limit: 7))
      let documents = try endpoint.ask("GET", "/documents?namespace=alpha&after=x&limit=9")
      #expect(documents.body.contains("alpha/x/9"))
    }
  }

  @Test(arguments: [
    ("/objects", "namespace"), ("/objects?namespace=a%20b", "namespace"),
    ("/objects?namespace=alpha&limit=0", "limit"), ("/objects?namespace=alpha&limit=1001", "limit"),
    ("/objects?namespace=alpha&limit=+5", "limit"), ("/objects?namespace=alpha&limit=5x", "limit"),
    ("/objects?namespace=alpha&namespace=beta", "namespace"), ("/stats?speed=1", "speed"),
    ("/readyz?verbose=maybe", "verbose"), ("/history?since=-1", "since"),
    ("/objects?namespace=%zz", "namespace"), ("/objects?namespace=alpha&cursor=%ff", "cursor"),
    ("/events?after=now", "after"), ("/documents?namespace=", "namespace"),
  ])
  func aFaultyParameterIsNamed(path: String, field: String) async throws {
    try await serve { endpoint in
      let answer = try endpoint.ask("GET", path)
      #expect(answer.status == 400)
      #expect(answer.code == "bad_request")
      #expect(answer.field == field)
    }
  }

  @Test func whatTheDaemonDoesNotKnowIsNotFound() async throws {
    try await serve { endpoint in
      let answer = try endpoint.ask("GET", "/objects?namespace=beta")
      #expect(answer.status == 404)
      #expect(answer.code == "not_found")
    }
  }

  @Test func unknownPathsAndMethodsAreToldApart() async throws {
    try await serve { endpoint in
      #expect(try endpoint.ask("GET", "/nothing").status == 404)
      #expect(try endpoint.ask("GET", "/nothing").code == "not_found")
      let wrong = try endpoint.ask("DELETE", "/stats")
      #expect(wrong.status == 405)
      #expect(wrong.fields["allow"] == "GET, HEAD")
      #expect(try endpoint.ask("OPTIONS", "/purge").fields["allow"] == "POST")
      #expect(try endpoint.ask("GET", "/namespaces/a/limits").fields["allow"] == "PUT")
      #expect(try endpoint.ask("GET", "/stats").fields["access-control-allow-origin"] == nil)
    }
  }

  @Test func aRequestForTheHeadGetsNoBody() async throws {
    try await serve { endpoint in
      let whole = try endpoint.ask("GET", "/version")
      let peer = try endpoint.connect()
      let host = "Host: localhost\r\n"
      peer.send("HEAD /version HTTP/1.1\r\n\(host)\r\nHEAD /events HTTP/1.1\r\n\(host)\r\n")
      let head = try peer.answer(hasBody: false)
      #expect(head.status == 200)
      #expect(head.fields["content-length"] == "\(whole.body.utf8.count)")
      #expect(try peer.answer(hasBody: false).fields["content-type"] == "text/event-stream")
    }
  }

  @Test func theDashboardIsServedUnderAStrictPolicyAndOnlyOnce() async throws {
    try await serve { endpoint in
      let page = try endpoint.ask("GET", "/")
      #expect(page.status == 200)
      #expect(page.fields["content-type"] == "text/html; charset=utf-8")
      let policy = try #require(page.fields["content-security-policy"])
      #expect(policy.hasPrefix("default-src 'none'; script-src 'self'; style-src 'self'; "))
      #expect(policy.hasSuffix("frame-ancestors 'none'"))
      #expect(!policy.contains("unsafe"))
      #expect(page.fields["x-content-type-options"] == "nosniff")
      let tag = try #require(page.fields["etag"])
      let again = try endpoint.ask("GET", "/", fields: ["If-None-Match": "\"x\", W/\(tag)"])
      #expect(again.status == 304)
      #expect(again.fields["etag"] == tag)
      #expect(again.body.isEmpty)
      let script = try endpoint.ask("HEAD", "/dygraph.min.js")
      #expect(script.fields["content-encoding"] == "gzip")
    }
  }

  @Test func datesAreWrittenAsHTTPWritesThem() {
    #expect(HTTPDate.text(784_111_777_999) == "Sun, 06 Nov 1994 08:49:37 GMT")
    #expect(HTTPDate.text(1_709_164_800_000) == "Thu, 29 Feb 2024 00:00:00 GMT")
    #expect(HTTPDate.text(0) == "Thu, 01 Jan 1970 00:00:00 GMT")
    #expect(HTTPDate.text(4_107_542_399_000) == "Sun, 28 Feb 2100 23:59:59 GMT")
  }
}
