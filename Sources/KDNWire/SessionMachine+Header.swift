internal import KDNCore

/// Which requests are refused for their headers, whatever came before.
extension SessionMachine {
  /// What is wrong with a request's header by itself, and the status that tells it; nil if nothing.
  func fault(
    in header: FrameHeader, _ operation: Operation, intact: Bool
  ) -> (Status, FieldFault)? {
    func refusal(
      _ field: String, _ value: UInt64, _ limit: UInt64, _ problem: String
    ) -> (Status, FieldFault) {
      let fault = FieldFault(field, value: value, limit: limit, problem)
      return (Status(refusing: fault), fault)
    }
    let flags = UInt64(header.flags.rawValue)
    guard header.flags.isSubset(of: .optional) else {
      return refusal("flags", flags, UInt64(FrameFlags.optional.rawValue), "not for requests")
    }
    guard header.reserved == 0 else {
      return refusal("reserved", header.reserved, 0, "reserved bytes must be zero")
    }
    guard header.requestID != 0 else {
      return refusal("requestID", 0, 1, "0 is for frames that the server starts")
    }
    guard header.status == 0 else {
      return refusal("status", UInt64(header.status), 0, "requests have none")
    }
    if let fault = placeFault(in: header, operation) { return (Status(refusing: fault), fault) }
    guard intact else {
      let fault = FieldFault(
        "bodyChecksum", value: header.bodyChecksum, limit: 0, "is not the body's checksum")
      return (.checksumMismatch, fault)
    }
    return nil
  }

  private func placeFault(in header: FrameHeader, _ operation: Operation) -> FieldFault? {
    let place = PayloadPlace(rawValue: header.place)
    let mayBeElsewhere = operation == .get || operation == .putData
    guard let place, place == .inline || (mayBeElsewhere && places.contains(place)) else {
      return FieldFault(
        "place", value: UInt64(header.place), limit: 0, "not for this request or connection")
    }
    guard header.payloadLength == 0 || (operation == .putData && place == .inline) else {
      return FieldFault(
        "payloadLength", value: header.payloadLength, limit: 0, "this frame has no payload")
    }
    return nil
  }
}
