package import KDNCore

/// What a tenant has in a tier.
///
/// Charged is the length of each object in the form that it is kept in, from the moment its write
/// is taken on until it is dropped, purged or over by its TTL; not the header and the padding of
/// its record, nor the room that a dropped or replaced record takes until its segment is reclaimed.
package struct TierUsage: Sendable, Equatable {
  /// Objects, those on their way too.
  package var objects = 0
  /// Their bytes.
  package var bytes = 0
  /// Those of them that are pinned.
  package var pinnedObjects = 0
  /// The bytes of those.
  package var pinnedBytes = 0

  /// Puts the numbers together.
  package init(objects: Int = 0, bytes: Int = 0, pinnedObjects: Int = 0, pinnedBytes: Int = 0) {
    self.objects = objects
    self.bytes = bytes
    self.pinnedObjects = pinnedObjects
    self.pinnedBytes = pinnedBytes
  }
}

/// Where a list of a tenant's objects goes on, in one run of the tier.
package struct TierCursor: Sendable, Equatable {
  /// The place of the last object given.
  package let number: UInt64

  /// Creates the cursor behind a place.
  package init(number: UInt64) { self.number = number }
}

/// An object in a tier, as a list shows it.
package struct TierListing: Sendable, Equatable {
  /// The full name.
  package var key: ObjectKey
  /// Length in bytes, as it was stored.
  package var byteCount: Int
  /// The form that it is kept in; nil: as it was stored.
  package var form: StoredForm?
  /// How many tokens; 0 for an opaque object.
  package var tokenCount: Int
  /// Position of the first token in its chain.
  package var firstToken: Int
  /// Uses since it was last written to a segment.
  package var uses: UInt64
  /// Whether a client pinned it.
  package var isPinned: Bool
  /// Milliseconds of the TTL that are left; nil without one.
  package var ttlMilliseconds: UInt64?

  /// Puts the facts together.
  package init(
    key: ObjectKey, byteCount: Int, form: StoredForm? = nil, tokenCount: Int, firstToken: Int,
    uses: UInt64, isPinned: Bool, ttlMilliseconds: UInt64?
  ) {
    self.key = key
    self.byteCount = byteCount
    self.form = form
    self.tokenCount = tokenCount
    self.firstToken = firstToken
    self.uses = uses
    self.isPinned = isPinned
    self.ttlMilliseconds = ttlMilliseconds
  }
}
