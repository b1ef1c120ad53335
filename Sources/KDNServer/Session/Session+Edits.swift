internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// EDIT: operations on a document's KV; what changes them is answered once no crash can undo it.
  func edit(
    _ request: EditRequest, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    let (pool, namespace) = (context.pool, call.namespace)
    switch request {
    case .add(let name, let epoch, let operation):
      let answered = answerOnceKept(call, on: loop)
      pool.edit(document: name, epoch: epoch, operation, in: namespace) { result in
        answered(result.map { .edit(.added(id: $0)) })
      }
    case .list(let name):
      guard let found = pool.published(document: name, in: namespace) else {
        throw Self.noDocument
      }
      let rows = found.edits.map { EditResponse.Row(id: $0.id, operation: $0.operation) }
      respond(.edit(.listed(rows)), call, now: loop.now())
    case .revert(let name, let id):
      let answered = answerOnceKept(call, on: loop)
      pool.revert(document: name, id: id, in: namespace) { result in
        answered(result.map { .edit(.reverted(count: $0)) })
      }
    case .materialise(let name, true):
      do {
        let material = try pool.materialise(document: name, in: namespace)
        respond(.edit(.materialised(material)), call, now: loop.now())
      } catch {
        throw Self.refusal(materialising: error)
      }
    case .materialise(let name, false):
      let answered = answerOnceKept(call, on: loop)
      pool.materialised(document: name, in: namespace) { material in
        answered(
          material.map { .success(.edit(.materialised($0))) }
            ?? .failure(.notFound(what: "name", number: 0)))
      }
    }
  }

  private static func refusal(materialising refusal: PoolRefusal) -> Refusal {
    switch refusal {
    case .notFound("name", _): noDocument
    case .fault(let fault) where "\(fault.field)" == "profile": Refusal(.notFound, fault)
    default: Refusal(refusal)
    }
  }
}
