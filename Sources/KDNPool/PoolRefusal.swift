package import KDNCore

/// Why the pool did not do what was asked.
package enum PoolRefusal: Error, Equatable, Sendable {
  /// No room or no slot now; asking again after this time may help.
  case busy(retryAfterMilliseconds: UInt64)
  /// The object is larger than the memory can ever hold.
  case tooLarge(bytes: Int, limit: Int)
  /// The key holds other bytes; keys are written once.
  case conflict(found: Checksum, given: Checksum)
  /// The layout, or the namespace's generation of that number, is not here.
  case notFound(what: String, number: UInt64)
  /// A field of the request is wrong.
  case fault(FieldFault)
  /// A limit on names (namespaces, layouts, leases) is reached.
  case limit(FieldFault)
  /// The tenant's quota is full of what only its own pins keep.
  case overQuota(FieldFault)
  /// There is no slower tier, or it failed: nothing can be made durable.
  case unavailable
}
