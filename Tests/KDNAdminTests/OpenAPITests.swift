import Foundation
import Testing

@testable import KDNAdmin

@Suite struct OpenAPITests: AdminTesting {
  @Test func theDocumentHasExactlyTheRoutesThatAreServed() async throws {
    try await serve { endpoint in
      let document = try endpoint.ask("GET", "/openapi.json").object
      let paths = try #require(document["paths"] as? [String: [String: Any]])
      let described = paths.flatMap { path, methods in
        methods.keys.map { "\($0.uppercased()) \(path)" }
      }
      let served = Routes(history: History(), startedSeconds: 0).all
        .filter { !DashboardFiles.paths.contains($0.path) }
        .map { "\($0.method.rawValue) \($0.path)" }
      #expect(described.sorted() == served.sorted())
    }
  }

  @Test func theDocumentHasExactlyTheParametersThatAreTaken() async throws {
    try await serve { endpoint in
      let document = try endpoint.ask("GET", "/openapi.json").object
      let paths = try #require(document["paths"] as? [String: [String: Any]])
      for route in Routes(history: History(), startedSeconds: 0).all {
        guard let methods = paths[route.path] else { continue }
        let operation = methods[route.method.rawValue.lowercased()] as? [String: Any]
        let parameters = operation?["parameters"] as? [[String: Any]] ?? []
        let query = parameters.filter { $0["in"] as? String == "query" }
        let names = query.compactMap { $0["name"] as? String }
        #expect(names == route.parameters, "\(route.path)")
      }
    }
  }
}
