import KDNControl
import Testing

@testable import KDNAdmin

@Suite struct DocumentRouteTests: AdminTesting {
  @Test(arguments: [
    ("DELETE", "/documents?namespace=a&name=x%2Fy", "", "retire a x/y root@127.0.0.1"),
    (
      "POST", "/documents/edits",
      #"{"namespace":"a","name":"x","epoch":7,"operation":"drop","spans":[[1,2]]}"#,
      "edit a x 7 drop 0.0 [[1, 2]] root@127.0.0.1"
    ),
    (
      "POST", "/documents/edits",
      #"{"namespace":"a","name":"x","operation":"emphasise","text":"é","occurrence":2}"#,
      "edit a x 0 emphasise é 2 root@127.0.0.1"
    ),
    (
      "POST", "/documents/edits",
      #"{"namespace":"a","name":"x","operation":"keep","permille":5,"scores":[1,0.5]}"#,
      "edit a x 0 keep 5 [1.0, 0.5] root@127.0.0.1"
    ),
    (
      "POST", "/documents/edits",
      #"{"namespace":"a","name":"x","operation":"requantise","class":"small"}"#,
      "edit a x 0 requantise small 0.0 [] root@127.0.0.1"
    ),
    (
      "POST", "/documents/materialise?namespace=a&name=x", "", "materialise a x root@127.0.0.1"
    ),
    ("DELETE", "/documents/edits?namespace=a&name=x", "", "revert a x 0 root@127.0.0.1"),
    ("DELETE", "/documents/edits?namespace=a&name=x&id=9", "", "revert a x 9 root@127.0.0.1"),
    (
      "PUT", "/documents/rules", #"{"namespace":"a","denied":["x*"]}"#,
      #"rules a ["x*"] [] [] root@127.0.0.1"#
    ),
    (
      "POST", "/documents/rules", #"{"namespace":"a","deny":["x"],"allow":["y"]}"#,
      #"rules a [] ["x"] ["y"] root@127.0.0.1"#
    ),
  ])
  func anOrderReachesTheDaemonInTheNameOfItsAdministrator(
    method: String, path: String, body: String, order: String
  ) async throws {
    try await serve { endpoint in
      let answer = try endpoint.order(method, path, body)
      #expect(answer.status == 200, "\(answer.body)")
      #expect(endpoint.control.now.orders == [order])
    }
  }

  @Test(arguments: [
    ("DELETE", "/documents?namespace=a", "", "name"),
    ("DELETE", "/documents?name=a", "", "namespace"),
    ("DELETE", "/documents/edits?namespace=a&name=x&id=0", "", "id"),
    ("DELETE", "/documents/edits?namespace=a&name=x", #"{"id":1}"#, "id"),
    ("POST", "/documents/materialise?namespace=a", "", "name"),
    ("POST", "/documents/materialise?namespace=a&name=x", #"{"wait":1}"#, "wait"),
    ("POST", "/documents/edits", #"{"namespace":"a","name":"x"}"#, "operation"),
    (
      "POST", "/documents/edits", #"{"namespace":"a","name":"x","operation":"drop","span":1}"#,
      "span"
    ),
    ("PUT", "/documents/rules", #"{"namespace":"a"}"#, "denied"),
    ("PUT", "/documents/rules", #"{"namespace":"a/b","denied":[]}"#, "namespace"),
    ("POST", "/documents/rules", #"{"namespace":"a"}"#, "deny"),
    ("POST", "/documents/rules", #"{"namespace":"a","denied":[]}"#, "denied"),
  ])
  func whatIsWrongIsRefusedWithTheFieldAndReachesNobody(
    method: String, path: String, body: String, field: String
  ) async throws {
    try await serve { endpoint in
      let answer = try endpoint.order(method, path, body)
      #expect(answer.status == 400, "\(answer.body)")
      #expect(answer.object["field"] as? String == field)
      #expect(endpoint.control.now.orders.isEmpty)
    }
  }

  @Test func questionsTellEditsAndRules() async throws {
    try await serve { endpoint in
      let edits = try endpoint.ask("GET", "/documents/edits?namespace=a&name=x").object
      #expect(edits["name"] as? String == "x" && (edits["edits"] as? [Any])?.count == 1)
      let rules = try endpoint.ask("GET", "/documents/rules?namespace=a").object
      #expect(rules["denied"] as? [String] == ["secret/*"])
    }
  }
}
