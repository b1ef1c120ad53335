package import KDNControl
internal import KDNCore
internal import KDNPool

extension ServerControl {
  /// Done in the background; `documentEdits` tells how far it is.
  package func materialise(
    _ document: DocumentName, by who: AdministratorName
  ) throws(ControlFault) -> DocumentMaterial {
    let details = [("namespace", document.namespace), ("document", document.name)]
    do {
      let namespace = try self.namespace(document.namespace)
      let material = try begin(document.name, in: namespace)
      audit.granted("document_materialise", by: who, details)
      return DocumentMaterial(material)
    } catch {
      audit.refused("document_materialise", by: who, error, details)
      throw error
    }
  }

  private func begin(
    _ name: String, in namespace: Namespace
  ) throws(ControlFault) -> Materialised {
    do {
      return try context.pool.materialise(document: name, in: namespace)
    } catch {
      switch error {
      case .notFound: throw ControlFault(.notFound, field: "name", "no document of this name")
      case .unavailable: throw ControlFault(.unavailable, "nothing is edited by this daemon")
      default: throw ControlFault(error)
      }
    }
  }
}

extension DocumentMaterial {
  /// How far it is; nil if there is nothing to be made.
  init(_ material: Materialised?) {
    let material = material ?? Materialised(.nothing)
    self.init(state: material.state.name, kept: material.kept, total: material.total)
  }
}

extension EditOperation {
  /// An order to deliver a document as a class.
  ///
  /// - Throws: `bad_request` that names the field at fault.
  static func requantise(_ order: DocumentEditOrder) throws(ControlFault) -> EditOperation {
    let others = [
      ("strength", order.strength != nil), ("spans", order.spans != nil),
      ("permille", order.permille != nil), ("scores", order.scores != nil),
    ]
    for (field, isGiven) in others where isGiven {
      throw ControlFault(.badRequest, field: field, "is not for requantise")
    }
    guard let codec = classes.first(where: { $0.name == order.codecClass }) else {
      let names = classes.map(\.name).joined(separator: ", ")
      throw ControlFault(.badRequest, field: "class", "is needed, one of \(names)")
    }
    return .requantise(codec)
  }
}
