package import KDNCore

/// What a client asks for, decoded and checked.
package enum Request: FrameBody {
  case hello(HelloRequest)
  case layout(LayoutRequest)
  case match(MatchRequest)
  case exists(KeysRequest)
  case get(GetRequest)
  case putBegin(PutBeginRequest)
  case putData(PutDataRequest)
  case putCommit(PutCommitRequest)
  case putAbort(PutAbortRequest)
  case release(ReleaseRequest)
  case touch(KeysRequest)
  case pin(PinRequest)
  case unpin(KeysRequest)
  case prefetch(KeysRequest)
  case purge(PurgeRequest)
  case stats
  case document(DocumentRequest)
  case compose(ComposeRequest)
  case edit(EditRequest)
  case work(WorkRequest)
  case mapSlab(MapSlabRequest)
  case openWindow(OpenWindowRequest)
  case linkTicket(LinkTicketRequest)
  case codecProfile(CodecProfileRequest)

  /// Decodes the whole of `body` as a request of `operation`; `place` is the frame's, and of use to
  /// GET and PUT_DATA only.
  ///
  /// - Throws: a fault that names the field at fault; `op` for GOAWAY, which no client sends.
  package static func decode(
    _ operation: Operation, body: ByteReader, limits: Limits, place: PayloadPlace = .inline
  ) throws(FieldFault) -> Request {
    var reader = body
    switch operation {
    case .hello: return .hello(try HelloRequest(from: &reader))
    case .layout: return .layout(try LayoutRequest(from: &reader))
    case .match: return .match(try MatchRequest(from: &reader, limits: limits))
    case .exists: return .exists(try KeysRequest(from: &reader, limits: limits))
    case .get: return .get(try GetRequest(from: &reader, limits: limits, place: place))
    case .putBegin: return .putBegin(try PutBeginRequest(from: &reader, limits: limits))
    case .putData:
      return .putData(try PutDataRequest(from: &reader, limits: limits, place: place))
    case .putCommit: return .putCommit(try PutCommitRequest(from: &reader))
    case .putAbort: return .putAbort(try PutAbortRequest(from: &reader))
    case .release: return .release(try ReleaseRequest(from: &reader))
    case .touch: return .touch(try KeysRequest(from: &reader, limits: limits))
    case .pin: return .pin(try PinRequest(from: &reader, limits: limits))
    case .unpin: return .unpin(try KeysRequest(from: &reader, limits: limits))
    case .prefetch: return .prefetch(try KeysRequest(from: &reader, limits: limits))
    case .purge: return .purge(try PurgeRequest(from: &reader, limits: limits))
    case .stats:
      _ = try EmptyBody(from: &reader)
      return .stats
    case .document: return .document(try DocumentRequest(from: &reader, limits: limits))
    case .compose: return .compose(try ComposeRequest(from: &reader))
    case .edit: return .edit(try EditRequest(from: &reader))
    case .work: return .work(try WorkRequest(from: &reader))
    case .mapSlab: return .mapSlab(try MapSlabRequest(from: &reader))
    case .openWindow: return .openWindow(try OpenWindowRequest(from: &reader))
    case .linkTicket: return .linkTicket(try LinkTicketRequest(from: &reader))
    case .codecProfile: return .codecProfile(try CodecProfileRequest(from: &reader))
    case .goAway:
      throw FieldFault("op", value: UInt64(operation.rawValue), limit: 0, "not for clients to send")
    }
  }

  /// The operation asked for.
  package var operation: Operation {
    switch self {
    case .hello: .hello
    case .layout: .layout
    case .match: .match
    case .exists: .exists
    case .get: .get
    case .putBegin: .putBegin
    case .putData: .putData
    case .putCommit: .putCommit
    case .putAbort: .putAbort
    case .release: .release
    case .touch: .touch
    case .pin: .pin
    case .unpin: .unpin
    case .prefetch: .prefetch
    case .purge: .purge
    case .stats: .stats
    case .document: .document
    case .compose: .compose
    case .edit: .edit
    case .work: .work
    case .mapSlab: .mapSlab
    case .openWindow: .openWindow
    case .linkTicket: .linkTicket
    case .codecProfile: .codecProfile
    }
  }

  /// Where the payload is, or is wanted: what the frame's header says.
  package var place: PayloadPlace {
    switch self {
    case .get(let body): body.place.kind
    case .putData(let body): body.source.place
    default: .inline
    }
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .hello(let body): body.write(to: &writer)
    case .layout(let body): body.write(to: &writer)
    case .match(let body): body.write(to: &writer)
    case .exists(let body), .touch(let body), .unpin(let body), .prefetch(let body):
      body.write(to: &writer)
    case .get(let body): body.write(to: &writer)
    case .putBegin(let body): body.write(to: &writer)
    case .putData(let body): body.write(to: &writer)
    case .putCommit(let body): body.write(to: &writer)
    case .putAbort(let body): body.write(to: &writer)
    case .release(let body): body.write(to: &writer)
    case .pin(let body): body.write(to: &writer)
    case .purge(let body): body.write(to: &writer)
    case .stats: break
    case .document(let body): body.write(to: &writer)
    case .compose(let body): body.write(to: &writer)
    case .edit(let body): body.write(to: &writer)
    case .work(let body): body.write(to: &writer)
    case .mapSlab(let body): body.write(to: &writer)
    case .openWindow(let body): body.write(to: &writer)
    case .linkTicket(let body): body.write(to: &writer)
    case .codecProfile(let body): body.write(to: &writer)
    }
  }

  /// How many answers per key or item the response must hold: keys of EXISTS, PIN and UNPIN, items
  /// of GET, hashes of MATCH, 1 for the bytes of a profile; 0 where the response has none.
  package var answerCount: Int {
    switch self {
    case .match(let body): body.hashes.count
    case .get(let body): body.items.count
    case .exists(let body), .unpin(let body): body.keys.count
    case .pin(let body): body.keys.count
    case .codecProfile(let body): body.bearsPayload ? 1 : 0
    default: 0
    }
  }
}
