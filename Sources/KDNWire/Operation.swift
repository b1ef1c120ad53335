/// The operations of KDNP/1; numbers as in a frame's `op`.
package enum Operation: UInt8, Sendable, CaseIterable {
  case hello = 1
  case layout = 2
  case match = 3
  case exists = 4
  case get = 5
  case putBegin = 6
  case putData = 7
  case putCommit = 8
  case putAbort = 9
  case release = 10
  case touch = 11
  case pin = 12
  case unpin = 13
  case prefetch = 14
  case purge = 15
  case stats = 16
  case goAway = 17
  case document = 32
  case compose = 33
  case edit = 34
  case work = 35
  case mapSlab = 36
  case openWindow = 37
  case linkTicket = 38
  case codecProfile = 39

  /// The name that the protocol document, statistics and logs use.
  package var name: String {
    switch self {
    case .hello: "HELLO"
    case .layout: "LAYOUT"
    case .match: "MATCH"
    case .exists: "EXISTS"
    case .get: "GET"
    case .putBegin: "PUT_BEGIN"
    case .putData: "PUT_DATA"
    case .putCommit: "PUT_COMMIT"
    case .putAbort: "PUT_ABORT"
    case .release: "RELEASE"
    case .touch: "TOUCH"
    case .pin: "PIN"
    case .unpin: "UNPIN"
    case .prefetch: "PREFETCH"
    case .purge: "PURGE"
    case .stats: "STATS"
    case .goAway: "GOAWAY"
    case .document: "DOCUMENT"
    case .compose: "COMPOSE"
    case .edit: "EDIT"
    case .work: "WORK"
    case .mapSlab: "MAP_SLAB"
    case .openWindow: "OPEN_WINDOW"
    case .linkTicket: "LINK_TICKET"
    case .codecProfile: "CODEC_PROFILE"
    }
  }
}
