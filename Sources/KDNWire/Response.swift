package import KDNCore

/// What a server answers when all is well, decoded and checked.
package enum Response: FrameBody {
  case hello(HelloResponse)
  case layout(LayoutResponse)
  case match(MatchResponse)
  case exists(ExistsResponse)
  case get(GetResponse)
  case putBegin(PutBeginResponse)
  case putCommit(PutCommitResponse)
  case putAbort
  case release
  case touch(TouchResponse)
  case pin(PinResponse)
  case unpin(PinResponse)
  case prefetch(PrefetchResponse)
  case purge(PurgeResponse)
  case stats(StatsResponse)
  case document(DocumentResponse)
  case compose(ComposeResponse)
  case edit(EditResponse)
  case work(WorkResponse)
  case mapSlab(MapSlabResponse)
  case openWindow(OpenWindowResponse)
  case linkTicket(LinkTicketResponse)
  case codecProfile(CodecProfileResponse)

  /// Decodes the whole of `body` as the answer to an `operation` that asked for `count` answers
  /// (see `Request.answerCount`); `place` is where a GET wanted its bytes.
  ///
  /// - Throws: a fault that names the field at fault; `op` for PUT_DATA and GOAWAY, which are not
  ///   answers.
  package static func decode(
    _ operation: Operation, body: ByteReader, count: Int, place: PayloadPlace = .inline
  ) throws(FieldFault) -> Response {
    var reader = body
    switch operation {
    case .hello: return .hello(try HelloResponse(from: &reader))
    case .layout: return .layout(try LayoutResponse(from: &reader))
    case .match:
      let match = try MatchResponse(from: &reader)
      try check(match, count: count)
      return .match(match)
    case .exists: return .exists(try ExistsResponse(from: &reader, count: count))
    case .get: return .get(try GetResponse(from: &reader, count: count, place: place))
    case .putBegin: return .putBegin(try PutBeginResponse(from: &reader))
    case .putCommit: return .putCommit(try PutCommitResponse(from: &reader))
    case .putAbort:
      _ = try EmptyBody(from: &reader)
      return .putAbort
    case .release:
      _ = try EmptyBody(from: &reader)
      return .release
    case .touch: return .touch(try TouchResponse(from: &reader))
    case .pin: return .pin(try PinResponse(from: &reader, count: count))
    case .unpin: return .unpin(try PinResponse(from: &reader, count: count))
    case .prefetch: return .prefetch(try PrefetchResponse(from: &reader))
    case .purge: return .purge(try PurgeResponse(from: &reader))
    case .stats: return .stats(try StatsResponse(from: &reader))
    case .document: return .document(try DocumentResponse(from: &reader))
    case .compose: return .compose(try ComposeResponse(from: &reader))
    case .edit: return .edit(try EditResponse(from: &reader))
    case .work: return .work(try WorkResponse(from: &reader))
    case .mapSlab: return .mapSlab(try MapSlabResponse(from: &reader))
    case .openWindow: return .openWindow(try OpenWindowResponse(from: &reader))
    case .linkTicket: return .linkTicket(try LinkTicketResponse(from: &reader))
    case .codecProfile:
      return .codecProfile(try CodecProfileResponse(from: &reader, count: count))
    case .putData, .goAway:
      throw FieldFault("op", value: UInt64(operation.rawValue), limit: 0, "never an answer")
    }
  }

  private static func check(_ match: MatchResponse, count: Int) throws(FieldFault) {
    guard match.matchedChunks <= count else {
      throw FieldFault(
        "matchedChunks", value: match.matchedChunks, limit: count, "more than were asked for")
    }
    guard (match.miss == nil) == (match.matchedChunks == count) else {
      throw FieldFault(
        "missCause", value: UInt64(match.miss?.rawValue ?? 0), limit: 0,
        "a cause is given exactly when a chunk is missing")
    }
  }

  package func write(to writer: inout ByteWriter) {
    switch self {
    case .hello(let body): body.write(to: &writer)
    case .layout(let body): body.write(to: &writer)
    case .match(let body): body.write(to: &writer)
    case .exists(let body): body.write(to: &writer)
    case .get(let body): body.write(to: &writer)
    case .putBegin(let body): body.write(to: &writer)
    case .putCommit(let body): body.write(to: &writer)
    case .putAbort, .release: break
    case .touch(let body): body.write(to: &writer)
    case .pin(let body), .unpin(let body): body.write(to: &writer)
    case .prefetch(let body): body.write(to: &writer)
    case .purge(let body): body.write(to: &writer)
    case .stats(let body): body.write(to: &writer)
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

  /// The operation answered.
  package var operation: Operation {
    switch self {
    case .hello: .hello
    case .layout: .layout
    case .match: .match
    case .exists: .exists
    case .get: .get
    case .putBegin: .putBegin
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

  /// Where the payload is: what the frame's header says.
  package var place: PayloadPlace {
    if case .get(let body) = self { body.place } else { .inline }
  }
}
