package import KDNCore
package import KDNWire

/// Why a request had no result.
package enum ClientError: Error, Equatable, Sendable, CustomStringConvertible {
  /// No connection could be made; the text says what failed.
  case cannotConnect(String)
  /// The server refused the request; the connection goes on.
  case refused(Status, ErrorBody)
  /// The server goes away or has closed the connection, and said why.
  case goAway(Status, ErrorBody)
  /// The connection ended without a word; the text says where.
  case lost(String)
  /// No complete answer came in time; the connection is closed, since the answer may still come.
  case deadline
  /// The server sent what no server may send; the connection is closed.
  case protocolFault(ClientProtocolFault)
  /// The request is beyond what the server announced and was not sent; the connection goes on.
  case unsendable(FieldFault)

  /// Whether the connection can be used no longer.
  package var endsConnection: Bool {
    switch self {
    case .refused, .unsendable: false
    case .cannotConnect, .goAway, .lost, .deadline, .protocolFault: true
    }
  }

  /// When it is of use to ask again, in milliseconds; nil if it is not, or nobody said.
  package var retryAfterMilliseconds: UInt32? {
    switch self {
    case .refused(_, let body), .goAway(_, let body):
      body.retryAfterMilliseconds > 0 ? body.retryAfterMilliseconds : nil
    case .cannotConnect, .lost, .deadline, .protocolFault, .unsendable: nil
    }
  }

  package var description: String {
    switch self {
    case .cannotConnect(let problem): "cannot connect: \(problem)"
    case .refused(let status, let body): "refused, \(Self.text(status, body))"
    case .goAway(let status, let body): "the server went away, \(Self.text(status, body))"
    case .lost(let problem): "connection lost: \(problem)"
    case .deadline: "no answer before the deadline"
    case .protocolFault(let fault): "the server broke the protocol: \(fault.fault)"
    case .unsendable(let fault): "not sent: \(fault)"
    }
  }

  private static func text(_ status: Status, _ body: ErrorBody) -> String {
    guard !body.field.isEmpty || !body.message.isEmpty else { return status.name }
    return "\(status.name): \(body.fault)"
  }
}
