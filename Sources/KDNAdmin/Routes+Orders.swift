internal import Hummingbird
internal import KDNControl

extension Routes {
  /// Everything that changes something, but for tenants.
  var orders: [AdminRoute] {
    [
      .order("reload", .post, "/reload") { request, control in
        try OrderBody.expectNothing(in: request.body)
        return .json(try await control.reload(by: try request.orderer))
      },
      .order("drain", .post, "/drain") { request, control in
        try OrderBody.expectNothing(in: request.body)
        control.drain(by: try request.orderer)
        return .json(DrainAnswer(state: .draining), status: .accepted)
      },
      .order("purge", .post, "/purge") { request, control in
        let keys: Set = ["namespace", "hashes", "with_descendants", "layouts", "all"]
        let order = try OrderBody.decode(PurgeOrder.self, from: request.body, keys: keys)
        try order.check()
        return .json(try await control.purge(order, by: try request.orderer))
      },
      .order("pin", .post, "/pin") { request, control in
        let keys: Set = ["namespace", "hashes", "ttl_milliseconds"]
        let order = try OrderBody.decode(PinOrder.self, from: request.body, keys: keys)
        try checkNamespace(order.namespace)
        try checkHexadecimal(order.hashes, byteCount: 32, field: "hashes")
        return .json(try await control.pin(order, by: try request.orderer))
      },
      .order("loglevel", .post, "/loglevel") { request, control in
        let order = try OrderBody.decode(LogLevel.self, from: request.body, keys: ["level"])
        try control.setLogLevel(order.level, by: try request.orderer)
        return .json(order)
      },
    ]
  }
}

private struct DrainAnswer: Encodable {
  let state: DaemonReport.State
}

private struct LogLevel: Codable {
  let level: String
}

extension AdminRequest {
  /// Who gives an order.
  var orderer: AdministratorName {
    get throws {
      guard let administrator else {
        throw ControlFault(.unauthorised, field: "authorization", "an admin token is needed")
      }
      return administrator
    }
  }
}

extension PurgeOrder {
  /// Checks that it says one thing, in well-formed names.
  fileprivate func check() throws(BodyRefusal) {
    try checkNamespace(namespace)
    let targets = [hashes != nil, layouts != nil, all == true].count { $0 }
    guard targets == 1 else {
      throw OrderBody.refuse("hashes", "exactly one of hashes, layouts and all is needed")
    }
    guard withDescendants != true || hashes != nil else {
      throw OrderBody.refuse("with_descendants", "only hashes have descendants")
    }
    if let hashes { try checkHexadecimal(hashes, byteCount: 32, field: "hashes") }
    if let layouts { try checkHexadecimal(layouts, byteCount: 16, field: "layouts") }
  }
}

/// Checks a name in a body.
func checkNamespace(_ text: String, field: String = "namespace") throws(BodyRefusal) {
  do {
    _ = try checkedNamespace(text)
  } catch {
    throw OrderBody.refuse(field, error.message)
  }
}

/// Checks that there is something in a list, and that all of it is hexadecimal of one length.
func checkHexadecimal(
  _ texts: [String], byteCount: Int, field: String
) throws(BodyRefusal) {
  guard !texts.isEmpty else { throw OrderBody.refuse(field, "must not be empty") }
  for text in texts where !isHexadecimal(text, byteCount: byteCount) {
    throw OrderBody.refuse(field, "must be \(2 * byteCount) hexadecimal digits each")
  }
}

/// Whether a text is the hexadecimal form of so many bytes.
private func isHexadecimal(_ text: String, byteCount: Int) -> Bool {
  text.utf8.count == 2 * byteCount
    && text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
        UInt8(ascii: "A")...UInt8(ascii: "F"):
        true
      default: false
      }
    }
}
