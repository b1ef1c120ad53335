internal import Dispatch
internal import KDNControl
internal import KDNCore
internal import KDNPool

extension ServerControl {
  /// An order with the tokens of its phrase in the place of the phrase, and with what an operation
  /// that has a name of its own stands for.
  ///
  /// The audit log hears of what is refused.
  ///
  /// - Throws: `bad_request` that names `spans`, `text`, `occurrence` or `all`; `not_found` that
  ///   names `name`, or `text` where the texts of the document's tokens are not kept.
  func spelledOut(
    _ order: DocumentEditOrder, by who: AdministratorName,
    _ details: [(name: String, value: String)]
  ) async throws(ControlFault) -> DocumentEditOrder {
    do throws(ControlFault) {
      var spelled = order
      switch order.operation {
      case "emphasise": spelled.scale(by: EditOperation.emphasisStrength)
      case "suppress": spelled.scale(by: EditOperation.suppressionStrength)
      default: break
      }
      let choice = try order.choice
      guard let text = order.text else { return spelled }
      guard order.spans == nil, order.scores == nil else {
        throw ControlFault(.badRequest, field: "text", "stands in the place of spans and scores")
      }
      let document = DocumentName(namespace: order.namespace, name: order.name)
      let found = try await spans(of: text, choice, in: document)
      if let epoch = order.epoch, epoch != 0, epoch != found.epoch {
        throw ControlFault(
          .badRequest, field: "epoch", "the document was published anew, as \(found.epoch)")
      }
      // Another publication would have other tokens.
      spelled.epoch = found.epoch
      spelled.spans = found.spans.ranges.map { [$0.lowerBound, $0.upperBound] }
      return spelled
    } catch {
      audit.refused("document_edit", by: who, error, details)
      throw error
    }
  }

  /// The tokens of a phrase, and the publication that has them.
  private func spans(
    of text: String, _ choice: PhraseChoice, in document: DocumentName
  ) async throws(ControlFault) -> (spans: TokenSpans, epoch: UInt64) {
    let namespace = try self.namespace(document.namespace)
    let pool = context.pool
    guard let published = pool.published(document: document.name, in: namespace),
      let last = published.document.hashes.last
    else { throw ControlFault(.notFound, field: "name", "no document of this name") }
    let found = await withCheckedContinuation { done in
      Self.readers.async {
        done.resume(
          returning: pool.readStored(
            TokenTexts.key(lastChunk: last), in: namespace, bytesMax: TokenTexts.byteCountMax))
      }
    }
    switch found {
    case .later: throw ControlFault(.busy, field: "text", "the text cannot be read now")
    case .missing(let cause):
      throw ControlFault(
        .notFound, field: "text",
        "the texts of this document's tokens are not kept (\(cause.name)): give spans")
    case .found(let bytes):
      do throws(FieldFault) {
        let texts = try TokenTexts(decoding: bytes)
        guard texts.ends.count == published.document.tokenCount else {
          throw FieldFault(
            "text", value: texts.ends.count, limit: published.document.tokenCount,
            "the texts that are kept are of another number of tokens: give spans")
        }
        return (try texts.spans(of: text, choice), published.epoch)
      } catch {
        throw ControlFault(error)
      }
    }
  }

  /// Reads wait here: one at a time, since few ask and each may take memory.
  private static let readers = DispatchQueue(label: "kdn.texts", qos: .utility)
}

extension DocumentEditOrder {
  /// Makes it one that scales keys, by `usual` unless it says otherwise.
  fileprivate mutating func scale(by usual: Float) {
    operation = "scale_keys"
    strength = strength ?? Double(usual)
  }

  /// Which occurrences of the phrase are meant.
  fileprivate var choice: PhraseChoice {
    get throws(ControlFault) {
      guard text != nil || occurrence == nil && all == nil else {
        throw ControlFault(
          .badRequest, field: occurrence == nil ? "all" : "occurrence", "is for text alone")
      }
      guard let occurrence else { return all == true ? .all : .only }
      guard all != true else {
        throw ControlFault(.badRequest, field: "occurrence", "is one, or all are meant")
      }
      return .number(occurrence)
    }
  }
}
