/// Why a retrieve did not hit; numbers as on the wire.
package enum MissCause: UInt8, Sendable, CaseIterable {
  /// Nothing under this key is known to have been stored.
  case neverStored = 1
  /// It was here and made room for others.
  case evicted = 2
  /// Its TTL ended.
  case expired = 3
  /// The chunk is here under another layout, part or variant.
  case wrongLayout = 4
  /// It could not be had before the deadline.
  case overDeadline = 5
  /// Its bytes failed their checksum.
  case corrupt = 6
  /// The tier that may hold it is not serving yet.
  case notReady = 7
  /// It was dropped on request.
  case purged = 8
  /// The request selected more bytes than the connection's credit.
  case overCredit = 9
  /// It cannot be delivered before the deadline: computing it again is quicker.
  case recompute = 10
  /// It is kept in a lossy codec only, and its very bytes were asked for.
  case inexact = 11
  /// It is kept in a codec that the client does not read and the daemon cannot decode.
  case undecodable = 12

  /// The name used in statistics and logs.
  package var name: String {
    switch self {
    case .neverStored: "never_stored"
    case .evicted: "evicted"
    case .expired: "expired"
    case .wrongLayout: "wrong_layout"
    case .overDeadline: "over_deadline"
    case .corrupt: "corrupt"
    case .notReady: "not_ready"
    case .purged: "purged"
    case .overCredit: "over_credit"
    case .recompute: "recompute"
    case .inexact: "inexact"
    case .undecodable: "undecodable"
    }
  }
}
