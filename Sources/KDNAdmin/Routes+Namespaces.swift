internal import Hummingbird
internal import KDNControl
internal import KDNCore

extension Routes {
  /// Everything that changes tenants.
  var namespaceOrders: [AdminRoute] {
    [
      .order("namespace_add", .post, "/namespaces") { request, control in
        let keys = Self.limitKeys(under: "limits.").union(["name", "limits"])
        let order = try OrderBody.decode(Addition.self, from: request.body, keys: keys)
        try checkNamespace(order.name, field: "name")
        let limits = order.limits ?? .none
        try limits.check(under: "limits.")
        let change = NamespaceChange.add(name: order.name, limits: limits)
        return .json(try await control.change(change, by: try request.orderer), status: .created)
      },
      .order("namespace_limits", .put, "/namespaces/{name}/limits") { request, control in
        let limits = try OrderBody.decode(
          NamespaceLimits.self, from: request.body, keys: Self.limitKeys(under: ""))
        try limits.check(under: "")
        let change = NamespaceChange.setLimits(name: try request.namespace(), limits: limits)
        return try await request.change(control, change)
      },
      .order("token_add", .post, "/namespaces/{name}/tokens") { request, control in
        let order = try OrderBody.decode(
          TokenAddition.self, from: request.body, keys: ["sha256", "expires_in_seconds"])
        try checkHexadecimal([order.sha256], byteCount: 32, field: "sha256")
        let change = NamespaceChange.addToken(
          name: try request.namespace(), sha256: order.sha256.lowercased(),
          expiresInSeconds: order.expiresInSeconds)
        return try await request.change(control, change)
      },
      .order("token_rotate", .post, "/namespaces/{name}/rotate") { request, control in
        let order = try OrderBody.decode(
          Rotation.self, from: request.body, keys: ["sha256", "grace_seconds"])
        try checkHexadecimal([order.sha256], byteCount: 32, field: "sha256")
        let change = NamespaceChange.rotate(
          name: try request.namespace(), sha256: order.sha256.lowercased(),
          graceSeconds: order.graceSeconds ?? 0)
        return try await request.change(control, change)
      },
      .order("token_revoke", .delete, "/namespaces/{name}/tokens/{id}") { request, control in
        try OrderBody.expectNothing(in: request.body)
        try checkHexadecimal([request.tokenID], byteCount: 6, field: "id")
        let change = NamespaceChange.revokeToken(
          name: try request.namespace(), id: request.tokenID.lowercased())
        return try await request.change(control, change)
      },
      .order("namespace_remove", .delete, "/namespaces/{name}") { request, control in
        try OrderBody.expectNothing(in: request.body)
        return try await request.change(control, .remove(name: request.namespace()))
      },
    ]
  }

  private static func limitKeys(under prefix: String) -> Set<String> {
    Set(NamespaceLimits.keys.map { prefix + $0 })
  }
}

private struct Addition: Decodable {
  let name: String
  let limits: NamespaceLimits?
}

private struct TokenAddition: Decodable {
  let sha256: String
  let expiresInSeconds: UInt64?
}

private struct Rotation: Decodable {
  let sha256: String
  let graceSeconds: UInt64?
}

extension AdminRequest {
  /// Has tenants changed, and answers what came of it.
  fileprivate func change(
    _ control: any DaemonControl, _ change: NamespaceChange
  ) async throws -> Response {
    .json(try await control.change(change, by: try orderer))
  }
}

extension NamespaceLimits {
  fileprivate static let keys = [
    "ram_bytes_max", "disk_bytes_max", "pinned_bytes_max", "connections_max",
    "requests_per_second", "bytes_per_second",
  ]

  /// Checks that no limit is negative.
  fileprivate func check(under prefix: String) throws(BodyRefusal) {
    let values = [
      ramBytesMax, diskBytesMax, pinnedBytesMax, connectionsMax, requestsPerSecond, bytesPerSecond,
    ]
    for (key, value) in zip(Self.keys, values) {
      guard let value, value < 0 else { continue }
      throw OrderBody.refuse(prefix + key, "must not be negative (value \(value), limit 0)")
    }
  }
}
