internal import Hummingbird
internal import KDNControl
internal import NIOCore

extension Response {
  /// Answers a value as JSON.
  static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) -> Response {
    text(ControlJSON.encode(value), type: "application/json", status: status)
  }

  /// Answers bytes of a content type.
  static func text(
    _ bytes: [UInt8], type: String, status: HTTPResponse.Status = .ok
  ) -> Response {
    Response(
      status: status, headers: [.contentType: type],
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
  }

  /// Answers a fault with the status that it stands for, or with another.
  static func fault(_ fault: ControlFault, status: HTTPResponse.Status? = nil) -> Response {
    var response = json(fault, status: status ?? fault.code.httpStatus)
    switch fault.code {
    case .unauthorised: response.headers[.wwwAuthenticate] = #"Bearer realm="kdnd""#
    case .busy: response.headers[.retryAfter] = "1"
    case .badRequest, .forbidden, .notFound, .conflict, .overQuota, .unavailable: break
    }
    return response
  }
}

extension ControlFault.Code {
  /// The HTTP status that tells it.
  fileprivate var httpStatus: HTTPResponse.Status {
    switch self {
    case .badRequest: .badRequest
    case .unauthorised: .unauthorized
    case .forbidden: .forbidden
    case .notFound: .notFound
    case .conflict: .conflict
    case .overQuota: .tooManyRequests
    case .busy, .unavailable: .serviceUnavailable
    }
  }
}

/// A fault with an HTTP status of its own.
struct StatusFault: Error {
  let status: HTTPResponse.Status
  let fault: ControlFault

  /// Gives a fault another status than its code stands for.
  init(_ status: HTTPResponse.Status, _ fault: ControlFault) {
    self.status = status
    self.fault = fault
  }
}
