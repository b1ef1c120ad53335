internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// COMPOSE: answered once the chunks of all documents are at hand and there is room for the
  /// blend, whose layers come after that.
  func compose(
    _ request: ComposeRequest, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    let composer = Composer(request, context.pool, in: call.namespace)
    let composition: Composer.Composition
    do {
      composition = try composer.compose()
    } catch {
      context.blends.refused(error.status)
      throw error
    }
    let id = call.id
    let serial = answerLater(call, on: loop)
    let signal = LoopSignal(loop: loop, session: self)
    let response = Response.compose(composition.response)
    context.pool.compose(composition.order, in: call.namespace) { result in
      let answer = result.map { response }.mapError { Refusal($0) }
      signal.raise { session, loop in
        session.finish(id, serial, answer, now: loop.now())
      }
    }
  }
}

extension Refusal {
  /// What the pool refused of a blend.
  fileprivate init(_ refusal: BlendRefusal) {
    switch refusal {
    case .missing(let piece, let cause):
      self.init(
        .notFound,
        FieldFault(
          "chunks", value: UInt64(piece), limit: UInt64(cause.rawValue),
          "chunks of this document cannot be had: \(cause.name)"))
    case .unedited(let piece, true):
      self.init(
        .busy,
        FieldFault("profile", value: UInt64(piece), limit: 0, "another one came into use just now"),
        retryAfterMilliseconds: 100)
    case .unedited(let piece, false):
      self.init(
        .badRequest,
        FieldFault(
          "edits", value: UInt64(piece), limit: 0,
          "chunks of this document cannot be encoded as the class"))
    case .busy(let fault): self.init(.busy, fault, retryAfterMilliseconds: 100)
    case .pool(let refusal): self.init(refusal)
    case .cancelled(let cause):
      let fault = FieldFault(
        "chunks", value: 0, limit: UInt64(cause.rawValue), "given up meanwhile: \(cause.name)")
      self.init(cause == .notReady ? .busy : .notFound, fault, retryAfterMilliseconds: 1000)
    }
  }
}
