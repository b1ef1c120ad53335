internal import KDNCore
internal import KDNPool
internal import KDNWire

extension Session {
  /// DOCUMENT: names of texts.
  func answer(
    _ request: DocumentRequest, _ namespace: Namespace
  ) throws(Refusal) -> DocumentResponse {
    let pool = context.pool
    switch request {
    case .publish(let document):
      do {
        return .published(epoch: try pool.publish(document, in: namespace).epoch)
      } catch {
        throw Refusal(error)
      }
    case .resolve(let name):
      guard let found = pool.resolve(document: name, in: namespace) else { throw Self.noDocument }
      return .resolved(
        found.document.document, epoch: found.document.epoch, presentChunks: found.presentChunks)
    case .list(let after, let limit):
      let documents = pool.documents(after: after, limit: limit, in: namespace)
      return .listed(documents.map { DocumentResponse.Listing($0) })
    case .retire(let name):
      guard let retired = pool.retire(document: name, in: namespace) else { throw Self.noDocument }
      return .retired(epoch: retired.epoch)
    }
  }

  private static var noDocument: Refusal {
    .unknown("name", 0, "no document of this name in this namespace")
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
