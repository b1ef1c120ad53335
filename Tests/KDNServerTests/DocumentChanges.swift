import KDNCore
import KDNPool

/// Changes of documents of a pool that keeps nothing: done before they return.
extension Pool {
  func publish(
    _ document: Document, in namespace: Namespace
  ) throws(PoolRefusal) -> PublishedDocument {
    let answer = Guarded<Result<PublishedDocument, PoolRefusal>?>(nil)
    publish(document, in: namespace) { result in answer.withLock { $0 = result } }
    guard let result = answer.withLock({ $0 }) else { throw .unavailable }
    return try result.get()
  }
}
