internal import KDNCore

/// Where the bytes of one hit lie in shared memory.
package struct SlabExtents: Equatable, Sendable {
  /// The slab, as MAP_SLAB takes it.
  package let slabID: UInt64
  /// Byte ranges of the slab, none empty, in the order of the selection.
  package let extents: [Range<Int>]

  /// Bytes of a hit with nothing behind its fixed fields.
  static let leastByteCount = 16
  static let extentByteCount = 16

  /// Names bytes of a slab.
  package init(slabID: UInt64, extents: [Range<Int>]) {
    self.slabID = slabID
    self.extents = extents
  }

  /// Bytes that a hit with this many extents takes in the body.
  package static func byteCount(extents count: Int) -> Int {
    leastByteCount + count * extentByteCount
  }

  /// Takes the extents of a hit of `sentBytes`.
  ///
  /// - Throws: a fault that names `extentCount`, `reserved`, `bodyLength`, `byteCount` (none of an
  ///   extent, or not `sentBytes` in all) or `offset` of an extent that ends too far out.
  init(from reader: inout ByteReader, sentBytes: Int) throws(FieldFault) {
    try reader.require(atLeast: Self.leastByteCount)
    slabID = try reader.take("slabID")
    let count = Int(try reader.take("extentCount", as: UInt32.self))
    guard count > 0 else {
      throw FieldFault("extentCount", value: 0, limit: 1, "a hit has bytes")
    }
    try reader.takeZero(UInt32.self)
    try reader.require(atLeast: count.multipliedReportingOverflow(by: Self.extentByteCount).0)
    var extents: [Range<Int>] = []
    extents.reserveCapacity(count)
    var missing = sentBytes
    for _ in 0..<count {
      let offset: UInt64 = try reader.take("offset")
      let length = try reader.takeByteCount("byteCount", least: 1, limit: missing)
      let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
      guard !overflow, let last = Int(exactly: end) else {
        throw FieldFault("offset", value: offset, limit: UInt64(Int.max), "ends too far out")
      }
      extents.append(last - length..<last)
      missing -= length
    }
    guard missing == 0 else {
      throw FieldFault(
        "byteCount", value: sentBytes - missing, limit: sentBytes, "less than sentBytes in all")
    }
    self.extents = extents
  }

  func write(to writer: inout ByteWriter) {
    writer.put(slabID)
    writer.put(UInt32(extents.count))
    writer.put(UInt32(0))
    for extent in extents {
      writer.put(UInt64(extent.lowerBound))
      writer.put(UInt64(extent.count))
    }
  }
}

/// What a GET in shared memory answers behind its descriptors.
package struct InPlaceAnswer: Equatable, Sendable {
  /// Keeps the bytes where they are; 0 if there are none.
  package let leaseID: UInt64
  /// How long it does, in milliseconds; 0 if there are no bytes.
  package let leaseMilliseconds: UInt32
  /// Where the hits lie, in the order of the request.
  package let hits: [SlabExtents]

  /// Set in the ids of leases that GET gives, never in those of MATCH.
  package static let leaseBit: UInt64 = 1 << 63
  /// The answer without hits.
  package static let empty = InPlaceAnswer(leaseID: 0, leaseMilliseconds: 0, hits: [])
  /// Bytes in front of the hits.
  package static let fixedByteCount = 16

  /// Puts an answer together.
  package init(leaseID: UInt64, leaseMilliseconds: UInt32, hits: [SlabExtents]) {
    self.leaseID = leaseID
    self.leaseMilliseconds = leaseMilliseconds
    self.hits = hits
  }

  /// Takes the rest of a body whose hits have `sentBytes`.
  ///
  /// - Throws: a fault that names `leaseID` (a lease without hits, hits without a lease, the id of
  ///   another kind), `leaseMillis`, `reserved`, `bodyLength` or a field of an extent.
  init(from reader: inout ByteReader, sentBytes: [Int]) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedByteCount)
    leaseID = try reader.take("leaseID")
    let expected = sentBytes.isEmpty ? 0 : Self.leaseBit
    guard sentBytes.isEmpty ? leaseID == 0 : leaseID & Self.leaseBit != 0 else {
      throw FieldFault("leaseID", value: leaseID, limit: expected, "not the lease of these hits")
    }
    leaseMilliseconds = try reader.take("leaseMillis")
    guard sentBytes.isEmpty == (leaseMilliseconds == 0) else {
      throw FieldFault(
        "leaseMillis", value: UInt64(leaseMilliseconds), limit: sentBytes.isEmpty ? 0 : 1,
        "a lease has a time, no lease has none")
    }
    try reader.takeZero(UInt32.self)
    var hits: [SlabExtents] = []
    hits.reserveCapacity(sentBytes.count)
    for count in sentBytes { hits.append(try SlabExtents(from: &reader, sentBytes: count)) }
    self.hits = hits
    try reader.require(exactly: 0)
  }

  func write(to writer: inout ByteWriter) {
    writer.put(leaseID)
    writer.put(leaseMilliseconds)
    writer.put(UInt32(0))
    for hit in hits { hit.write(to: &writer) }
  }
}
