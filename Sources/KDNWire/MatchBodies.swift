package import KDNCore

/// MATCH: a chain of chunk hashes of which the longest stored prefix is wanted.
package struct MatchRequest: FrameBody {
  /// Chunk hashes, first chunk first; 1 to `maxKeysPerRequest`.
  package let hashes: [ChunkHash]
  /// Parts that must all be there for a chunk to count, 1 to 64.
  package let parts: [Part]
  /// The layout of the chunks.
  package let layout: LayoutID
  /// The form of the KV; 0 is what was stored.
  package let variant: UInt32
  /// The lease asked for, in milliseconds; 0 is the server's default, nil asks for none.
  package let leaseMilliseconds: UInt32?

  private static let leaseFlag: UInt16 = 1

  /// Asks for a prefix.
  package init(
    hashes: [ChunkHash], parts: [Part], layout: LayoutID, variant: UInt32 = 0,
    leaseMilliseconds: UInt32? = nil
  ) {
    self.hashes = hashes
    self.parts = parts
    self.layout = layout
    self.variant = variant
    self.leaseMilliseconds = leaseMilliseconds
  }

  /// Decodes a whole body.
  ///
  /// - Throws: a fault that names `hashCount`, `partCount`, `flags`, `leaseMillis` (given without
  ///   the flag), `layerCount`, `kvHeadCount` or `bodyLength`.
  package init(from reader: inout ByteReader, limits: Limits) throws(FieldFault) {
    try reader.require(atLeast: 32)
    let hashCount = try reader.takeCount("hashCount", least: 1, limit: limits.maxKeysPerRequest)
    let partCount = Int(try reader.take("partCount", as: UInt16.self))
    guard (1...Limits.partsPerMatchMax).contains(partCount) else {
      throw FieldFault(
        "partCount", value: partCount, limit: Limits.partsPerMatchMax, "must be 1 to 64")
    }
    let flags: UInt16 = try reader.take("flags")
    guard flags & ~Self.leaseFlag == 0 else {
      throw FieldFault("flags", value: UInt64(flags), limit: 1, "unknown flag")
    }
    variant = try reader.take("variant")
    let lease: UInt32 = try reader.take("leaseMillis")
    guard lease == 0 || flags == Self.leaseFlag else {
      throw FieldFault("leaseMillis", value: UInt64(lease), limit: 0, "a lease was not asked for")
    }
    leaseMilliseconds = flags == Self.leaseFlag ? lease : nil
    layout = try LayoutID(from: &reader)
    try reader.require(exactly: partCount * Part.byteCount + hashCount * ChunkHash.byteCount)
    var parts: [Part] = []
    parts.reserveCapacity(partCount)
    for _ in 0..<partCount { parts.append(try Part(selecting: &reader)) }
    self.parts = parts
    var hashes: [ChunkHash] = []
    hashes.reserveCapacity(hashCount)
    for _ in 0..<hashCount { hashes.append(try ChunkHash(from: &reader)) }
    self.hashes = hashes
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(hashes.count))
    writer.put(UInt16(parts.count))
    writer.put(leaseMilliseconds == nil ? 0 : Self.leaseFlag)
    writer.put(variant)
    writer.put(leaseMilliseconds ?? 0)
    layout.write(to: &writer)
    for part in parts { part.write(to: &writer) }
    for hash in hashes { hash.write(to: &writer) }
  }
}

extension Part {
  /// Bytes of a part on the wire.
  static let byteCount = 8

  /// Takes a part that must have layers and heads; throws a fault that names the count that is 0.
  init(selecting reader: inout ByteReader) throws(FieldFault) {
    try self.init(from: &reader)
    guard layerCount > 0 else {
      throw FieldFault("layerCount", value: 0, limit: 1, "a part has layers")
    }
    guard kvHeadCount > 0 else {
      throw FieldFault("kvHeadCount", value: 0, limit: 1, "a part has heads")
    }
  }
}

/// The answer to MATCH.
package struct MatchResponse: FrameBody {
  /// How many of the matched chunks have each tier as their slowest.
  package struct Tiers: Equatable, Sendable {
    /// Chunks in GPU memory.
    package var gpu: UInt32 = 0
    /// Chunks in RAM.
    package var ram: UInt32 = 0
    /// Chunks on the local disk.
    package var disk: UInt32 = 0
    /// Chunks in the shared origin.
    package var origin: UInt32 = 0

    /// Creates the counts.
    package init(gpu: UInt32 = 0, ram: UInt32 = 0, disk: UInt32 = 0, origin: UInt32 = 0) {
      self.gpu = gpu
      self.ram = ram
      self.disk = disk
      self.origin = origin
    }
  }

  /// How many chunks from the first are there.
  package let matchedChunks: Int
  /// Why the next chunk is not there, nil if all are.
  package let miss: MissCause?
  /// Where the matched chunks are.
  package let tiers: Tiers
  /// Bytes of the matched chunks, over all parts.
  package let matchedBytes: Int
  /// Time to fetch them all, in microseconds; 0 is unknown.
  package let estimateMicroseconds: UInt64
  /// The lease, 0 if none.
  package let leaseID: UInt64
  /// The lease's time, in milliseconds, 0 if none.
  package let leaseMilliseconds: UInt32

  /// Creates the answer.
  package init(
    matchedChunks: Int, miss: MissCause?, tiers: Tiers, matchedBytes: Int,
    estimateMicroseconds: UInt64 = 0, leaseID: UInt64 = 0, leaseMilliseconds: UInt32 = 0
  ) {
    self.matchedChunks = matchedChunks
    self.miss = miss
    self.tiers = tiers
    self.matchedBytes = matchedBytes
    self.estimateMicroseconds = estimateMicroseconds
    self.leaseID = leaseID
    self.leaseMilliseconds = leaseMilliseconds
  }

  /// Decodes a whole body; throws a fault that names the field at fault.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 56)
    matchedChunks = try reader.takeCount("matchedChunks", limit: Int(UInt32.max))
    miss = try MissCause.takeOptional(from: &reader)
    try reader.takeReserved(count: 3)
    tiers = Tiers(
      gpu: try reader.take("gpu"), ram: try reader.take("ram"), disk: try reader.take("disk"),
      origin: try reader.take("origin"))
    matchedBytes = try reader.takeByteCount("matchedBytes")
    estimateMicroseconds = try reader.take("estimateMicros")
    leaseID = try reader.take("leaseID")
    leaseMilliseconds = try reader.take("leaseMillis")
    try reader.takeZero(UInt32.self)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(clamping: matchedChunks))
    writer.put(miss?.rawValue ?? 0)
    writer.putZeros(3)
    writer.put(tiers.gpu)
    writer.put(tiers.ram)
    writer.put(tiers.disk)
    writer.put(tiers.origin)
    writer.put(UInt64(matchedBytes))
    writer.put(estimateMicroseconds)
    writer.put(leaseID)
    writer.put(leaseMilliseconds)
    writer.put(UInt32(0))
  }
}

extension MissCause {
  /// Takes a cause where 0 stands for a hit; throws a fault that names `missCause` if unknown.
  static func takeOptional(from reader: inout ByteReader) throws(FieldFault) -> MissCause? {
    let raw: UInt8 = try reader.take("missCause")
    guard raw != 0 else { return nil }
    guard let cause = MissCause(rawValue: raw) else {
      throw FieldFault("missCause", value: UInt64(raw), limit: 9, "unknown miss cause")
    }
    return cause
  }
}
