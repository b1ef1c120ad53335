internal import KDNBlend
internal import KDNCodec
internal import KDNCore
internal import KDNPool
internal import KDNWire

/// Makes an order for the pool, and the plan for the client, of what COMPOSE asks for.
struct Composer {
  private let pool: Pool
  private let namespace: Namespace
  private let request: ComposeRequest

  init(_ request: ComposeRequest, _ pool: Pool, in namespace: Namespace) {
    self.pool = pool
    self.namespace = namespace
    self.request = request
  }

  /// An order, and what is answered once the pool has begun to carry it out.
  struct Composition {
    let order: BlendOrder
    let response: ComposeResponse
  }

  /// Resolves all documents, and checks that they may and can be blended.
  ///
  /// - Throws: `forbidden` or `notFound` naming `name`, `notFound` naming `layout`, or a fault that
  ///   names `epoch`, `layout`, `rope` or what a plan refuses; numbers of pieces are its value.
  func compose() throws(Refusal) -> Composition {
    let documents = try resolve()
    guard let layout = pool.geometry(of: request.layout, in: namespace)?.layout else {
      throw .unknown("layout", 0, "not known in this namespace")
    }
    do {
      let layers = try Self.layers(of: layout)
      let recipes = try recipes(of: documents)
      let forms = try forms(of: documents)
      let plan = try plan(documents, recipes, layout)
      let order = BlendOrder(
        hash: identity(documents, recipes, forms).hash, layout: request.layout, layers: layers,
        pieces: documents.indices.map {
          BlendOrder.Piece(
            documents[$0], kept: plan.placements[$0].kept.ranges,
            sources: sources(of: documents[$0], number: $0), form: forms[$0])
        },
        writer: try writer(documents, plan, layout))
      return Composition(order: order, response: answer(order, plan))
    } catch let fault as FieldFault {
      throw .fault(fault)
    } catch let refusal as Refusal {
      throw refusal
    } catch {
      preconditionFailure("no other errors are thrown: \(error)")
    }
  }

  // MARK: Documents

  private func resolve() throws(Refusal) -> [PublishedDocument] {
    var documents: [PublishedDocument] = []
    for (index, piece) in request.pieces.enumerated() {
      let bytes = Array(piece.name.utf8)
      guard !request.forbidden.contains(where: { bytes.elementsEqual($0.utf8) }) else {
        throw Refusal(
          .forbidden,
          FieldFault(
            "name", value: UInt64(index), limit: 0, "the request itself forbids this document"))
      }
      guard pool.mayUse(document: piece.name, in: namespace) else {
        throw Session.mayNotUse(UInt64(index))
      }
      guard let document = pool.published(document: piece.name, in: namespace) else {
        throw .unknown("name", UInt64(index), "no document of this name in this namespace")
      }
      guard piece.epoch == 0 || piece.epoch == document.epoch else {
        throw .fault(
          FieldFault(
            "epoch", value: piece.epoch, limit: document.epoch, "this document was published anew"))
      }
      guard document.document.layout == request.layout else {
        throw .fault(
          FieldFault(
            "layout", value: index, limit: request.pieces.count,
            "this document has another layout"))
      }
      documents.append(document)
    }
    return documents
  }

  private func recipes(
    of documents: [PublishedDocument]
  ) throws(FieldFault) -> [EditRecipe] {
    let isEdited = request.flags.contains(.edits)
    var recipes: [EditRecipe] = []
    for document in documents {
      let operations = isEdited ? document.edits.map(\.operation) : []
      recipes.append(
        try EditRecipe(operations, tokenCount: document.document.tokenCount))
    }
    return recipes
  }

  private func forms(of documents: [PublishedDocument]) throws(Refusal) -> [EditedForm?] {
    guard request.flags.contains(.edits) else { return documents.map { _ in nil } }
    let forms = documents.map { pool.editedForm(of: $0, in: namespace) }
    for (piece, form) in forms.enumerated() {
      guard let form, form.profile == .missing else { continue }
      throw Refusal(.notFound, form.profileFault(piece))
    }
    return forms
  }

  // MARK: The plan

  /// Elements whose scale is not in the layout can neither be turned nor multiplied.
  static func layers(of layout: Layout) throws(FieldFault) -> [BlendLayer] {
    switch layout.elementType {
    case .bf16, .f16, .f32: return try BlendLayer.layers(of: layout)
    case .f8e4m3, .f8e5m2, .i8:
      throw FieldFault(
        "layout", value: UInt64(layout.elementType.rawValue), limit: 3,
        "elements of one byte have scales that the daemon does not know")
    }
  }

  private func pieces(
    _ documents: [PublishedDocument], _ recipes: [EditRecipe]
  ) -> [BlendPlan.Piece] {
    documents.indices.map { index in
      BlendPlan.Piece(
        tokenCount: documents[index].document.tokenCount, slot: request.pieces[index].slot,
        drops: recipes[index].drops)
    }
  }

  private func plan(
    _ documents: [PublishedDocument], _ recipes: [EditRecipe], _ layout: Layout
  ) throws(FieldFault) -> BlendPlan {
    try BlendPlan(
      pieces(documents, recipes), firstPosition: request.firstPosition,
      dropFirst: request.flags.contains(.dropFirst),
      recomputePermille: request.recomputePermille, positionLimit: layout.positionLimit)
  }

  /// The chunks of later documents as they were settled, if that is asked for.
  ///
  /// The first stands as it was computed: with nothing before it.
  private func sources(of document: PublishedDocument, number: Int) -> [ChunkHash]? {
    guard let settling = request.settling, number > 0 else { return nil }
    return document.document.hashes.map { HashChain.settled($0, by: settling) }
  }

  private func identity(
    _ documents: [PublishedDocument], _ recipes: [EditRecipe], _ forms: [EditedForm?]
  ) -> BlendIdentity {
    BlendIdentity(
      layout: request.layout, dropFirst: request.flags.contains(.dropFirst),
      firstPosition: request.firstPosition,
      pieces: zip(documents, pieces(documents, recipes)).enumerated().map { index, entry in
        BlendIdentity.Piece(
          lastHash: entry.0.document.hashes.last ?? .none, tokenCount: entry.1.tokenCount,
          width: entry.1.width,
          recipe: recipes[index].hash(by: forms[index]?.profile.hash ?? .none))
      },
      settling: request.pieces.count > 1 ? request.settling : nil)
  }

  private func writer(
    _ documents: [PublishedDocument], _ plan: BlendPlan, _ layout: Layout
  ) throws(FieldFault) -> BlendWriter {
    var pieces: [BlendWriter.Piece] = []
    for (index, placement) in plan.placements.enumerated() {
      var rotations: [KeyRotation] = []
      for group in layout.groups {
        rotations.append(try KeyRotation(group.rope, distance: placement.firstPosition))
      }
      pieces.append(
        BlendWriter.Piece(
          chunkTokens: documents[index].document.chunkTokens,
          runs: placement.runs, rotations: rotations))
    }
    return BlendWriter(layout.elementType, rowCount: plan.rowCount, pieces: pieces)
  }

  private func answer(_ order: BlendOrder, _ plan: BlendPlan) -> ComposeResponse {
    ComposeResponse(
      hash: order.hash, rowCount: plan.rowCount, endPosition: plan.endPosition,
      byteCount: order.byteCount, recomputeTokens: plan.recomputeTokens,
      pieces: zip(order.pieces, plan.placements).map { piece, placement in
        ComposeResponse.Piece(
          epoch: piece.document.epoch, tokenCount: placement.tokenCount,
          firstPosition: placement.firstPosition, firstRow: placement.firstRow,
          dropped: placement.dropped, recompute: placement.recompute)
      })
  }
}
