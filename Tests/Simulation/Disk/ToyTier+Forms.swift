import KDNCore
import KDNTier

extension ToyTier {
  /// A toy is always too busy to write anything a second time.
  func rewrite(
    _ facts: ObjectFacts, _ bytes: TierBytes,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) { completion(.failure(.busy)) }

  var forms: [UInt8: FormShare] {
    let bytes = entries.values.reduce(0) { $0 + $1.facts.byteCount }
    return entries.isEmpty
      ? [:] : [StoredForm.raw: FormShare(objects: entries.count, bytes: bytes, rawBytes: bytes)]
  }
}
