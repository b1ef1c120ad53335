package import KDNCore

/// How a request ended; numbers as in a frame's `status`.
package enum Status: UInt16, Sendable, CaseIterable {
  case ok = 0
  case badRequest = 1
  case unknownOp = 2
  case unauthorised = 3
  case busy = 4
  case conflict = 5
  case tooLarge = 6
  case notFound = 7
  case deadline = 8
  case draining = 9
  case overCredit = 10
  case checksumMismatch = 11
  case unsupported = 12
  case notAllowed = 13
  case `internal` = 14
  case tooManyConnections = 15
  case outOfSequence = 16
  case overQuota = 17
  case forbidden = 18

  /// The status that tells a client about a malformed request: `bad_request`, but `too_large` for
  /// an object above its limit and `unsupported` for a version, place, durability or codec that
  /// this server does not have.
  package init(refusing fault: FieldFault) {
    switch fault.field {
    case "minVersion", "place", "durability", "codec": self = .unsupported
    case "totalBytes" where fault.value > fault.limit: self = .tooLarge
    default: self = .badRequest
    }
  }

  /// The name that the protocol document, statistics and logs use.
  package var name: String {
    switch self {
    case .ok: "ok"
    case .badRequest: "bad_request"
    case .unknownOp: "unknown_op"
    case .unauthorised: "unauthorised"
    case .busy: "busy"
    case .conflict: "conflict"
    case .tooLarge: "too_large"
    case .notFound: "not_found"
    case .deadline: "deadline"
    case .draining: "draining"
    case .overCredit: "over_credit"
    case .checksumMismatch: "checksum_mismatch"
    case .unsupported: "unsupported"
    case .notAllowed: "not_allowed"
    case .internal: "internal"
    case .tooManyConnections: "too_many_connections"
    case .outOfSequence: "out_of_sequence"
    case .overQuota: "over_quota"
    case .forbidden: "forbidden"
    }
  }
}
