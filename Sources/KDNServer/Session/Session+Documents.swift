internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// DOCUMENT: names of texts; what changes one is answered once no crash can undo it.
  func document(
    _ request: DocumentRequest, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    let (pool, namespace) = (context.pool, call.namespace)
    switch request {
    case .publish(let document):
      let answered = answerOnceKept(call, on: loop)
      pool.publish(document, in: namespace) { result in
        answered(result.map { .document(.published(epoch: $0.epoch)) })
      }
    case .resolve(let name):
      guard let found = pool.resolve(document: name, in: namespace) else { throw Self.noDocument }
      guard pool.mayUse(document: name, in: namespace) else { throw Self.mayNotUse(0) }
      let answer = DocumentResponse.resolved(
        found.document.document, epoch: found.document.epoch, presentChunks: found.presentChunks)
      respond(.document(answer), call, now: loop.now())
    case .list(let after, let limit):
      let documents = pool.documents(after: after, limit: limit, in: namespace)
      let answer = DocumentResponse.listed(documents.map { DocumentResponse.Listing($0) })
      respond(.document(answer), call, now: loop.now())
    case .retire(let name):
      let answered = answerOnceKept(call, on: loop)
      pool.retire(document: name, in: namespace) { result in
        answered(result.map { .document(.retired(epoch: $0.epoch)) })
      }
    }
  }

  /// Keeps a request until what it changes is kept; what this gives back answers it, from any
  /// thread.
  func answerOnceKept(
    _ call: Call, on loop: isolated Loop
  ) -> @Sendable (Result<Response, PoolRefusal>) -> Void {
    let id = call.id
    let serial = answerLater(call, on: loop)
    let signal = LoopSignal(loop: loop, session: self)
    return { result in
      signal.raise { session, loop in
        session.finish(id, serial, result.mapError { Refusal(document: $0) }, now: loop.now())
      }
    }
  }

  static var noDocument: Refusal {
    .unknown("name", 0, "no document of this name in this namespace")
  }

  /// A rule denies the document of this number in the request.
  static func mayNotUse(_ number: UInt64) -> Refusal {
    Refusal(
      .forbidden,
      FieldFault("name", value: number, limit: 0, "a rule of the namespace denies this document"))
  }
}

extension Refusal {
  /// What the pool refused of documents.
  fileprivate init(document refusal: PoolRefusal) {
    switch refusal {
    case .notFound("name", _): self = Session.noDocument
    case .unavailable:
      self.init(
        .unsupported,
        FieldFault(
          "durability", value: 1, limit: 0, "no directory of the disk tier can be written"))
    default: self.init(refusal)
    }
  }
}

extension DocumentResponse.Listing {
  fileprivate init(_ published: PublishedDocument) {
    let document = published.document
    self.init(
      name: document.name, epoch: published.epoch, layout: document.layout,
      tokenCount: document.tokenCount, chunkCount: document.hashes.count)
  }
}
