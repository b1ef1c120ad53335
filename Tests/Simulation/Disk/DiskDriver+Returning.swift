import KDNCore
import KDNTier

/// What a tier says cannot come back must not, whatever becomes of the devices.
extension DiskDriver {
  /// Asks whether older records of opaque names may come back, and holds the tier to its no.
  func checkReturning(_ tier: any Tier) {
    for name in universe.names where universe.keys[name.number].kind == .opaque {
      let copies = (model.copies[name] ?? []).filter { $0.purge != .acknowledged }
      let key = universe.keys[name.number]
      guard !copies.isEmpty, !tier.mayReturn(key, in: universe.namespaces[name.tenant]) else {
        continue
      }
      totals.cannotReturn += 1
      note("\(describe(name)) cannot return")
      for copy in copies { copy.purge = .acknowledged }
    }
  }
}
