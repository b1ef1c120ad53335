package import KDNCore
package import KDNMemory

/// Who holds leases: a connection.
package struct OwnerID: Hashable, Sendable {
  /// The connection's number, never used twice.
  package let number: UInt64

  /// Wraps a connection's number.
  package init(number: UInt64) { self.number = number }
}

/// What a writer tells of an object before its bytes.
package struct StoreFacts: Sendable {
  /// The object's full name.
  package let key: ObjectKey
  /// Hash of the chunk before; `ChunkHash.none` for a first chunk or an opaque object.
  package let parent: ChunkHash
  /// Length in bytes.
  package let byteCount: Int
  /// Position of the first token in its chain.
  package let firstToken: Int
  /// How many tokens; 0 for an opaque object.
  package let tokenCount: Int
  /// Time to live from publication; 0 for no end.
  package let ttlMilliseconds: UInt64
  /// What it cost to compute; 0 if unknown.
  package let recomputeMicroseconds: UInt64

  /// Gathers the facts; `Pool.reserve` checks them.
  package init(
    key: ObjectKey, parent: ChunkHash = .none, byteCount: Int, firstToken: Int = 0,
    tokenCount: Int = 0, ttlMilliseconds: UInt64 = 0, recomputeMicroseconds: UInt64 = 0
  ) {
    self.key = key
    self.parent = parent
    self.byteCount = byteCount
    self.firstToken = firstToken
    self.tokenCount = tokenCount
    self.ttlMilliseconds = ttlMilliseconds
    self.recomputeMicroseconds = recomputeMicroseconds
  }
}

/// Room for one object: the right to write its bytes, and its charge for index memory.
///
/// Dropping it gives both back; `Pool.publish` consumes it.
package struct StoreReservation: ~Copyable, Sendable {
  /// The extent to be written.
  package let memory: Reservation
  let charge: IndexCharge
  let quota: QuotaCharge
  let open: OpenCount
  let generation: UInt64

  /// Length in bytes.
  package var byteCount: Int { memory.byteCount }
}

/// What `Pool.reserve` gave.
package enum StoreAnswer: ~Copyable, Sendable {
  /// Room to write the bytes into.
  case reserved(StoreReservation)
  /// The key is here already, in RAM or in the slower tier; these bytes have this checksum.
  case present(Checksum)
}

/// What `Pool.publish` and `Pool.confirm` found.
package enum PublishAnswer: Sendable {
  /// The object is visible now.
  case published(StoredObject)
  /// The same bytes, of this checksum, were here already.
  case present(Checksum)
}
