package import KDNCore

/// A frame from the server that breaks the protocol: it costs the connection.
package enum ClientProtocolFault: Error, Equatable, Sendable {
  /// No next frame can be found.
  case framing(FramingFault)
  /// A header field holds what no answer may hold.
  case header(FieldFault)
  /// The body is not the one its checksum announces.
  case damagedBody(requestID: UInt64, op: UInt8)
  /// No such request waits for an answer.
  case unknownRequest(requestID: UInt64, op: UInt8)
  /// The answer is to another operation than was asked for.
  case wrongOperation(requestID: UInt64, asked: Operation, answered: UInt8)
  /// The body is malformed or does not answer what was asked.
  case body(requestID: UInt64, Operation, FieldFault)
  /// The payload is not the length that the descriptors announce, in bytes.
  case payload(requestID: UInt64, found: Int, announced: Int)

  /// What is wrong, as a field of the protocol document.
  package var fault: FieldFault {
    switch self {
    case .framing(let fault): fault.fault
    case .header(let fault): fault
    case .damagedBody(_, let op):
      FieldFault("bodyChecksum", value: UInt64(op), limit: 0, "is not the body's checksum")
    case .unknownRequest(let requestID, _):
      FieldFault("requestID", value: requestID, limit: 0, "no such request waits for an answer")
    case .wrongOperation(_, let asked, let answered):
      FieldFault(
        "op", value: UInt64(answered), limit: UInt64(asked.rawValue),
        "answers another operation than was asked for")
    case .body(_, _, let fault): fault
    case .payload(_, let found, let announced):
      FieldFault("payloadLength", value: found, limit: announced, "not what is announced")
    }
  }
}
