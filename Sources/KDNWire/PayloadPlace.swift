internal import KDNCore

/// Where a payload is; numbers as in a frame's `place`.
package enum PayloadPlace: UInt8, Sendable, CaseIterable {
  /// Behind the body, in the stream.
  case inline = 0
  /// In memory that client and server have both mapped.
  case sharedMemory = 1
  /// In memory of the client that the server reads and writes over RDMA.
  case remote = 2
}

/// Memory that the client has registered for the server's one-sided operations.
package struct RemoteRegion: Hashable, Sendable {
  /// Address of the first byte, as the client registered it.
  package let address: UInt64
  /// The remote key of the registration.
  package let key: UInt32
  /// Length in bytes.
  package let byteCount: Int

  /// Bytes of a region on the wire.
  package static let byteCount = 24

  /// Names memory.
  package init(address: UInt64, key: UInt32, byteCount: Int) {
    self.address = address
    self.key = key
    self.byteCount = byteCount
  }

  /// Takes 24 bytes; throws a fault that names `reserved`, `byteCount` or, for a region that ends
  /// beyond what can be addressed, `address`.
  init(from reader: inout ByteReader, least: Int, limit: Int) throws(FieldFault) {
    try reader.require(atLeast: Self.byteCount)
    address = try reader.take("address")
    key = try reader.take("key")
    try reader.takeZero(UInt32.self)
    byteCount = try reader.takeByteCount("byteCount", least: least, limit: limit)
    guard !address.addingReportingOverflow(UInt64(byteCount)).overflow else {
      throw FieldFault(
        "address", value: address, limit: UInt64.max - UInt64(byteCount), "ends too far out")
    }
  }

  func write(to writer: inout ByteWriter) {
    writer.put(address)
    writer.put(key)
    writer.put(UInt32(0))
    writer.put(UInt64(byteCount))
  }
}

extension ByteReader {
  /// Takes a u64 byte count that must be `least` to `limit`.
  mutating func takeByteCount(
    _ field: StaticString, least: Int, limit: Int
  ) throws(FieldFault) -> Int {
    let count = try takeByteCount(field, limit: limit)
    guard count >= least else {
      throw FieldFault("\(field)", value: count, limit: least, "too few bytes")
    }
    return count
  }
}
