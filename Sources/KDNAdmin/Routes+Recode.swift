internal import Hummingbird
internal import KDNControl

extension Routes {
  /// Jobs that keep objects in another codec.
  var recodeOrders: [AdminRoute] {
    [
      .get("/recode") { _, control in .json(RecodeList(jobs: control.recodings())) },
      .order("recode", .post, "/recode") { request, control in
        let keys: Set = [
          "namespace", "codec", "all", "layouts", "document", "hashes", "tiers", "dry_run",
        ]
        let order = try OrderBody.decode(RecodeOrder.self, from: request.body, keys: keys)
        try order.check()
        let report = try await control.recode(order, by: try request.orderer)
        return .json(report, status: .accepted)
      },
      .order("recode_cancel", .post, "/recode/cancel") { request, control in
        let order = try OrderBody.decode(
          RecodeCancellation.self, from: request.body, keys: ["namespace"])
        try checkNamespace(order.namespace)
        return .json(try control.cancelRecode(of: order.namespace, by: try request.orderer))
      },
    ]
  }
}

extension RecodeOrder {
  /// Checks that it says one thing, in well-formed names.
  fileprivate func check() throws(BodyRefusal) {
    try checkNamespace(namespace)
    let targets = [all == true, layouts != nil, document != nil, hashes != nil]
    guard targets.count(where: { $0 }) == 1 else {
      throw OrderBody.refuse("all", "exactly one of all, layouts, document and hashes is needed")
    }
    if let hashes { try checkHexadecimal(hashes, byteCount: 32, field: "hashes") }
    if let layouts { try checkHexadecimal(layouts, byteCount: 16, field: "layouts") }
    if document == "" { throw OrderBody.refuse("document", "must not be empty") }
    for tier in tiers ?? [] where tier != "ram" && tier != "disk" {
      throw OrderBody.refuse("tiers", "must be of ram and disk")
    }
    if tiers?.isEmpty == true { throw OrderBody.refuse("tiers", "must not be empty") }
  }
}
