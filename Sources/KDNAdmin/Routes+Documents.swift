internal import Hummingbird
internal import KDNControl
internal import KDNCore

extension Routes {
  /// Documents, what is done to them, and which may not be used.
  var documents: [AdminRoute] {
    [
      .get("/documents", parameters: ["namespace", "after", "limit", "name"], handler: Self.list),
      .order(
        "document_retire", .delete, "/documents", parameters: ["namespace", "name"]
      ) { request, control in
        try OrderBody.expectNothing(in: request.body)
        return .json(try await control.retire(request.document, by: request.orderer))
      },
      .get("/documents/edits", parameters: ["namespace", "name"]) { request, control in
        .json(try control.documentEdits(request.document))
      },
      .order("document_edit", .post, "/documents/edits") { request, control in
        let keys: Set = [
          "namespace", "name", "epoch", "operation", "strength", "spans", "text", "occurrence",
          "all", "permille", "scores", "class",
        ]
        let order = try OrderBody.decode(DocumentEditOrder.self, from: request.body, keys: keys)
        try checkNamespace(order.namespace)
        return .json(try await control.edit(order, by: request.orderer))
      },
      .order(
        "document_revert", .delete, "/documents/edits", parameters: ["namespace", "name", "id"]
      ) { request, control in
        try OrderBody.expectNothing(in: request.body)
        let id = try request.query.number("id", in: 1...UInt64.max)
        return .json(try await control.revert(request.document, id: id, by: request.orderer))
      },
      .order(
        "document_materialise", .post, "/documents/materialise", parameters: ["namespace", "name"]
      ) { request, control in
        try OrderBody.expectNothing(in: request.body)
        return .json(try control.materialise(request.document, by: request.orderer))
      },
      .get("/documents/rules", parameters: ["namespace"]) { request, control in
        .json(try control.documentRules(of: request.tenant))
      },
      .order("document_rules", .put, "/documents/rules") { request, control in
        let order = try OrderBody.decode(
          DocumentRulesOrder.self, from: request.body, keys: ["namespace", "denied"])
        guard order.denied != nil else { throw OrderBody.refuse("denied", "is needed") }
        try checkNamespace(order.namespace)
        return .json(try await control.changeDocumentRules(order, by: request.orderer))
      },
      .order("document_rules", .post, "/documents/rules") { request, control in
        let order = try OrderBody.decode(
          DocumentRulesOrder.self, from: request.body, keys: ["namespace", "deny", "allow"])
        guard order.deny != nil || order.allow != nil else {
          throw OrderBody.refuse("deny", "deny or allow is needed")
        }
        try checkNamespace(order.namespace)
        return .json(try await control.changeDocumentRules(order, by: request.orderer))
      },
    ]
  }

  private static let list: AdminRoute.Handler = { request, control in
    let limit = try request.query.number("limit", in: 1...DocumentQuery.limitMax) ?? 100
    let query = DocumentQuery(
      namespace: try request.tenant, after: request.query.text("after"), limit: limit,
      name: request.query.text("name"))
    return .json(try control.documents(query))
  }
}

extension AdminRequest {
  /// The tenant that the parameters name.
  fileprivate var tenant: String {
    get throws {
      guard let text = query.text("namespace") else {
        throw ControlFault(.badRequest, field: "namespace", "is needed")
      }
      return try checkedNamespace(text)
    }
  }

  /// The document that the parameters name.
  fileprivate var document: DocumentName {
    get throws {
      guard let name = query.text("name") else {
        throw ControlFault(.badRequest, field: "name", "is needed")
      }
      return DocumentName(namespace: try tenant, name: name)
    }
  }
}
