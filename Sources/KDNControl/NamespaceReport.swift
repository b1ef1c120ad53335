package import KDNCore

/// One tenant in numbers.
package struct NamespaceReport: Codable, Sendable {
  /// The tenant.
  package var name: String
  /// Grows by one with each purge of the whole namespace.
  package var generation: UInt64
  /// Its limits.
  package var limits: NamespaceLimits
  /// Objects in RAM.
  package var ramObjects: Int
  /// Their bytes, reservations included: what the quota is charged for.
  package var ramBytes: Int
  /// Objects on disk.
  package var diskObjects: Int
  /// Their bytes.
  package var diskBytes: Int
  /// Bytes of objects pinned in RAM.
  package var pinnedBytes: Int
  /// Connections now.
  package var connections: Int
  /// Requests that came in.
  package var requestsTotal: UInt64
  /// By the name of the status; only those that occurred.
  package var errorsTotal: [String: UInt64]
  /// Bytes that came in over its connections.
  package var receivedBytesTotal: UInt64
  /// Bytes that went out over its connections.
  package var sentBytesTotal: UInt64
  /// Lookups that RAM answered.
  package var ramHitsTotal: UInt64
  /// Lookups that the disk tier answered.
  package var diskHitsTotal: UInt64
  /// By the name of the cause, all causes.
  package var missesTotal: [String: UInt64]
  /// Objects published.
  package var storesTotal: UInt64
  /// Their bytes.
  package var storedBytesTotal: UInt64
  /// Of its objects, those that made room.
  package var evictionsTotal: UInt64
  /// Their bytes.
  package var evictedBytesTotal: UInt64
  /// Stores refused because a quota was full of what cannot go.
  package var quotaRefusalsTotal: UInt64
  /// Requests and connections refused because a rate or number was over its limit.
  package var rateRefusalsTotal: UInt64

  /// Puts the values together.
  package init(
    name: String, generation: UInt64, limits: NamespaceLimits, ramObjects: Int, ramBytes: Int,
    diskObjects: Int, diskBytes: Int, pinnedBytes: Int, connections: Int, requestsTotal: UInt64,
    errorsTotal: [String: UInt64], receivedBytesTotal: UInt64, sentBytesTotal: UInt64,
    ramHitsTotal: UInt64, diskHitsTotal: UInt64, missesTotal: [String: UInt64],
    storesTotal:
      UInt64, storedBytesTotal: UInt64, evictionsTotal: UInt64, evictedBytesTotal: UInt64,
    quotaRefusalsTotal: UInt64, rateRefusalsTotal: UInt64
  ) {
    self.name = name
    self.generation = generation
    self.limits = limits
    self.ramObjects = ramObjects
    self.ramBytes = ramBytes
    self.diskObjects = diskObjects
    self.diskBytes = diskBytes
    self.pinnedBytes = pinnedBytes
    self.connections = connections
    self.requestsTotal = requestsTotal
    self.errorsTotal = errorsTotal
    self.receivedBytesTotal = receivedBytesTotal
    self.sentBytesTotal = sentBytesTotal
    self.ramHitsTotal = ramHitsTotal
    self.diskHitsTotal = diskHitsTotal
    self.missesTotal = missesTotal
    self.storesTotal = storesTotal
    self.storedBytesTotal = storedBytesTotal
    self.evictionsTotal = evictionsTotal
    self.evictedBytesTotal = evictedBytesTotal
    self.quotaRefusalsTotal = quotaRefusalsTotal
    self.rateRefusalsTotal = rateRefusalsTotal
  }
}

/// One tenant as an administrator sees it.
package struct NamespaceDetail: Codable, Sendable {
  /// A token as far as it may be shown.
  package struct Token: Codable, Sendable, Equatable {
    /// The first 12 hexadecimal digits of its SHA-256; names the token in orders.
    package var id: String
    /// When it ends, in milliseconds since 1970; nil for never.
    package var expiresUnixMilliseconds: UInt64?

    /// Puts the values together.
    package init(id: String, expiresUnixMilliseconds: UInt64? = nil) {
      self.id = id
      self.expiresUnixMilliseconds = expiresUnixMilliseconds
    }
  }

  /// The tenant.
  package var name: String
  /// Its limits.
  package var limits: NamespaceLimits
  /// Tokens that open it.
  package var tokens: [Token]
  /// Names in client certificates that open it without a token.
  package var certificateNames: [String]
  /// `configuration` for one that only the configuration can change, else `file`.
  package var source: String

  /// Puts the values together.
  package init(
    name: String, limits: NamespaceLimits, tokens: [Token], certificateNames: [String],
    source:
      String
  ) {
    self.name = name
    self.limits = limits
    self.tokens = tokens
    self.certificateNames = certificateNames
    self.source = source
  }
}

/// An order to change the tenants.
package enum NamespaceChange: Sendable, Equatable {
  /// Adds one, closed to all until it has a token.
  case add(name: String, limits: NamespaceLimits)
  /// Replaces all limits.
  case setLimits(name: String, limits: NamespaceLimits)
  /// Adds a token by its SHA-256 in hexadecimal, ending `expiresInSeconds` from now if not nil.
  case addToken(name: String, sha256: String, expiresInSeconds: UInt64?)
  /// Lets all other tokens end `graceSeconds` from now, at once for 0, and adds this one.
  case rotate(name: String, sha256: String, graceSeconds: UInt64)
  /// Ends a token at once.
  case revokeToken(name: String, id: String)
  /// Closes it and drops its objects.
  case remove(name: String)

  /// The tenant that it is about.
  package var name: String {
    switch self {
    case .add(let name, _), .setLimits(let name, _), .addToken(let name, _, _),
      .rotate(let name, _, _), .revokeToken(let name, _), .remove(let name):
      name
    }
  }
}
