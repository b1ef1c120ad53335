import KDNCore
import KDNTier

extension ToyTier {
  /// Whatever was ever written of a name may return, as far as a toy knows.
  func mayReturn(_ key: ObjectKey, in namespace: NamespaceName) -> Bool {
    catalogue.events.contains { event in
      guard case .object(let facts) = event else { return false }
      return facts.key == key && facts.namespace == namespace
    }
  }
}
