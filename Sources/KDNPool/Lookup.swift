package import KDNCore
package import KDNMemory
package import KDNTier

/// The right to read an object's bytes in place.
package struct ReadLease: ~Copyable, Sendable {
  /// What is read.
  package let object: StoredObject
  /// The right itself, as long as the bytes in their form; dropping it ends it.
  package let lease: Lease
  /// The form of these bytes; nil: not encoded.
  package let form: StoredForm?
  /// XXH3-64 of these bytes.
  package let checksum: Checksum
  /// Number of the codec that these bytes were decoded from; 0 if they were not decoded.
  ///
  /// What an exact codec gave back are the bytes that were stored.
  package let decodedFrom: UInt8

  init(_ object: StoredObject, _ body: StoredBody) {
    self.object = object
    lease = body.block.lease()
    form = body.form
    checksum = body.checksum
    decodedFrom = body.decodedFrom
  }
}

/// What `Pool.lookup` found.
package enum Lookup: ~Copyable, Sendable {
  /// The object is here and stays readable while the lease lives.
  case hit(ReadLease)
  /// The object is not here.
  case miss(MissCause)
}

/// A question for the longest prefix of a chain that is present.
package struct MatchQuery: Sendable {
  /// Layout of the wanted objects.
  package let layout: LayoutID
  /// Parts that must all be there for a chunk to count.
  package let parts: [Part]
  /// Form of the wanted objects.
  package let variant: UInt32
  /// Chunk hashes, first chunk first.
  package let hashes: [ChunkHash]
  /// nil: only probe; 0: lease for the default time; else lease for this long, up to the limit.
  package let leaseMilliseconds: UInt64?

  /// Gathers the question.
  package init(
    layout: LayoutID, parts: [Part], variant: UInt32 = 0, hashes: [ChunkHash],
    leaseMilliseconds: UInt64? = nil
  ) {
    self.layout = layout
    self.parts = parts
    self.variant = variant
    self.hashes = hashes
    self.leaseMilliseconds = leaseMilliseconds
  }
}

/// The longest prefix found.
package struct MatchAnswer: Equatable, Sendable {
  /// How many chunks from the front are present in all parts.
  package var matchedChunks = 0
  /// How many of them have all parts in RAM.
  package var ramChunks = 0
  /// How many of them have a part that only the disk holds.
  package var diskChunks = 0
  /// Why the first chunk behind them is not; nil if all matched.
  package var missCause: MissCause?
  /// Bytes of all objects of the matched chunks.
  package var matchedBytes = 0
  /// How many of them RAM lacks.
  package var diskBytes = 0
  /// Number of the lease; 0 if none was asked for or nothing matched.
  package var leaseNumber: UInt64 = 0
  /// How long the lease holds; 0 without one.
  package var leaseMilliseconds: UInt64 = 0
}

/// How much a purge dropped that could still be had; an object in both tiers counts once.
package struct PurgeCount: Equatable, Sendable {
  /// How many objects.
  package var objects: Int
  /// Their bytes.
  package var bytes: Int

  /// Puts both together.
  package init(objects: Int, bytes: Int) {
    self.objects = objects
    self.bytes = bytes
  }
}

/// What a purge drops.
package enum PurgeScope: Sendable {
  /// These objects.
  case keys([ObjectKey])
  /// All objects of these chunks and of the chunks that build on them.
  case prefixes([ChunkHash])
  /// All objects of these layouts; the layouts stay registered.
  case layouts([LayoutID])
  /// Everything in the namespace.
  case namespace
}
