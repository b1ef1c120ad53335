internal import KDNCore

/// Where a GET wants its bytes.
package enum GetPlace: Hashable, Sendable {
  /// Behind the answer's body.
  case inline
  /// Where they are in the server's memory, under a lease of this length; 0 is the server's
  /// default.
  case sharedMemory(leaseMilliseconds: UInt32)
  /// Written over RDMA, each item into its own region; one region per item.
  case remote([RemoteRegion])

  /// The place alone, as in the frame's header.
  package var kind: PayloadPlace {
    switch self {
    case .inline: .inline
    case .sharedMemory: .sharedMemory
    case .remote: .remote
    }
  }

  /// Takes what is left of a body behind `count` items; throws a fault that names `bodyLength`,
  /// `reserved` or a region's field.
  init(_ kind: PayloadPlace, count: Int, from reader: inout ByteReader) throws(FieldFault) {
    switch kind {
    case .inline:
      self = .inline
      try reader.require(exactly: 0)
    case .sharedMemory:
      try reader.require(exactly: 8)
      self = .sharedMemory(leaseMilliseconds: try reader.take("leaseMillis"))
      try reader.takeZero(UInt32.self)
    case .remote:
      try reader.require(exactly: count * RemoteRegion.byteCount)
      var regions: [RemoteRegion] = []
      regions.reserveCapacity(count)
      for _ in 0..<count {
        regions.append(try RemoteRegion(from: &reader, least: 0, limit: .max))
      }
      self = .remote(regions)
    }
  }

  func write(to writer: inout ByteWriter) {
    switch self {
    case .inline: break
    case .sharedMemory(let leaseMilliseconds):
      writer.put(leaseMilliseconds)
      writer.put(UInt32(0))
    case .remote(let regions):
      for region in regions { region.write(to: &writer) }
    }
  }
}
