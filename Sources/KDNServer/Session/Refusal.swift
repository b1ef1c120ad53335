internal import KDNCore
internal import KDNPool
internal import KDNWire

/// A request that is not granted, in the protocol's terms.
struct Refusal: Error {
  let status: Status
  let fault: FieldFault?
  let retryAfterMilliseconds: UInt32

  init(_ status: Status, _ fault: FieldFault? = nil, retryAfterMilliseconds: UInt32 = 0) {
    self.status = status
    self.fault = fault
    self.retryAfterMilliseconds = retryAfterMilliseconds
  }

  /// The same as the body of an error.
  var body: ErrorBody {
    fault.map { ErrorBody($0, retryAfterMilliseconds: retryAfterMilliseconds) }
      ?? ErrorBody(retryAfterMilliseconds: retryAfterMilliseconds)
  }

  /// A field of the request is malformed.
  static func fault(_ fault: FieldFault) -> Refusal { Refusal(.badRequest, fault) }

  /// Something that the client names is not there.
  static func unknown(_ field: String, _ value: UInt64, _ problem: String) -> Refusal {
    Refusal(.notFound, FieldFault(field, value: value, limit: 0, problem))
  }

  /// The daemon's own memory does not hold one more of them now.
  static func noMemory(_ field: String) -> Refusal {
    Refusal(
      .busy, FieldFault(field, value: 0, limit: 0, "no memory for it now"),
      retryAfterMilliseconds: 1000)
  }

  /// Bytes received are not the bytes announced.
  static func checksum(found: Checksum, announced: Checksum) -> Refusal {
    Refusal(
      .checksumMismatch,
      FieldFault(
        "checksum", value: found.value, limit: announced.value,
        "the bytes received are not the bytes announced"))
  }

  /// What the pool refused.
  init(_ refusal: PoolRefusal) {
    switch refusal {
    case .busy(let retry): self.init(.busy, retryAfterMilliseconds: UInt32(clamping: retry))
    case .tooLarge(let bytes, let limit):
      self.init(
        .tooLarge, FieldFault("totalBytes", value: bytes, limit: limit, "larger than can be kept"))
    case .conflict(let found, let given):
      self.init(
        .conflict,
        FieldFault("checksum", value: given.value, limit: found.value, "the key holds other bytes"))
    case .notFound(let what, let number):
      self.init(
        .notFound, FieldFault("\(what)", value: number, limit: 0, "not known in this namespace"))
    case .fault(let fault): self.init(.badRequest, fault)
    case .overQuota(let fault): self.init(.overQuota, fault)
    case .unavailable:
      self.init(
        .unsupported, FieldFault("durability", value: 1, limit: 0, "the disk tier has failed"))
    case .limit(let fault): self.init(.busy, fault, retryAfterMilliseconds: 1000)
    }
  }

  /// A tenant has asked for more than its rate allows.
  init(_ excess: RateExcess, _ field: String) {
    self.init(
      .busy,
      FieldFault(
        field, value: excess.perSecond, limit: excess.perSecond,
        "the namespace has used up its rate"),
      retryAfterMilliseconds: UInt32(clamping: max(1, excess.milliseconds)))
  }
}
