internal import KDNCore
internal import KDNPool
internal import KDNWire

/// What could be sent of what the pool keeps.
extension DeliveryChunk {
  /// The forms in which a whole object can be sent to who asked; nil if there is none.
  init?(_ kept: KeptForms, isLast: Bool, for get: GetRequest) {
    let ranked = kept.forms
      .compactMap { form in form.sent(kept, for: get).map { (rank: form.loss, form: $0) } }
      .sorted { ($0.rank, $0.form.readBytes) < ($1.rank, $1.form.readBytes) }
      .map(\.form)
    guard let best = ranked.first else { return nil }
    // Another is of use only if it comes sooner.
    let others = ranked.dropFirst().filter {
      $0.byteCount < best.byteCount || $0.readBytes < best.readBytes
    }
    self.init(
      rawByteCount: kept.byteCount, tokenCount: isLast ? kept.tokenCount : 0,
      forms: [best] + others)
  }
}

extension KeptForm {
  /// How much it loses, by the order of the codecs.
  fileprivate var loss: UInt8 { isExact ? 0 : form?.codec ?? 0 }

  /// What is sent of it: its own bytes if they are accepted, else what decoding gives.
  fileprivate func sent(_ kept: KeptForms, for get: GetRequest) -> DeliveryForm? {
    guard isExact || !get.flags.contains(.exact) else { return nil }
    let readBytes = tier == .disk ? byteCount : 0
    guard get.forms.contains(form) else {
      guard isDecodable else { return nil }
      return DeliveryForm(codec: .raw, byteCount: kept.byteCount, readBytes: readBytes)
    }
    let codec = form.map { PayloadCodec(rawValue: $0.codec) } ?? .raw
    return codec.map { DeliveryForm(codec: $0, byteCount: byteCount, readBytes: readBytes) }
  }
}
