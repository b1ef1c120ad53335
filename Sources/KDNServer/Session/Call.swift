internal import KDNCore
internal import KDNPool
internal import KDNWire

/// A request that is being carried out: what was asked, and where its time goes.
struct Call {
  /// The id that the client gave it.
  let id: UInt64
  let operation: Operation
  let namespace: Namespace
  /// When the answer is of no use any more.
  let deadline: Instant
  /// When all of the request was there.
  let arrival: Instant
  /// Items or keys; 0 where there are none.
  let items: Int
  /// Whether what is read is a profile to be used, and not to be sent.
  let usesProfile: Bool
  /// Bytes of payload asked for or brought.
  var bytes = 0
  /// Of its time, waiting for what nobody had stored yet.
  var waitNanoseconds: UInt64 = 0
  /// Of its time, waiting for the disk.
  var diskNanoseconds: UInt64 = 0

  /// Begins when the machine lets `request` through.
  init(_ request: Request, id: UInt64, namespace: Namespace, deadline: Instant, arrival: Instant) {
    self.id = id
    self.operation = request.operation
    self.namespace = namespace
    self.deadline = deadline
    self.arrival = arrival
    items = request.itemCount
    if case .codecProfile(.use) = request { usesProfile = true } else { usesProfile = false }
    if case .putBegin(let begin) = request { bytes = begin.totalBytes }
  }
}

extension Request {
  /// Items, keys or hashes that the request names.
  fileprivate var itemCount: Int {
    switch self {
    case .touch(let body), .prefetch(let body): body.keys.count
    default: answerCount
    }
  }
}
