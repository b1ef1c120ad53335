package import KDNCore

/// How the bytes of a payload are encoded; numbers as on the wire.
package enum PayloadCodec: UInt8, Sendable, CaseIterable {
  /// As stored.
  case raw = 0

  /// Takes a codec; throws a fault that names `codec` if this build does not know it.
  init(from reader: inout ByteReader) throws(FieldFault) {
    let raw: UInt8 = try reader.take("codec")
    guard let codec = PayloadCodec(rawValue: raw) else {
      throw FieldFault("codec", value: UInt64(raw), limit: 0, "unknown codec")
    }
    self = codec
  }
}

/// What a GET answers for one item.
package struct GetDescriptor: Equatable, Sendable {
  /// Why there are no bytes, nil for a hit.
  package let miss: MissCause?
  /// Codec of the bytes sent.
  package let codec: PayloadCodec
  /// Length of the whole object, in bytes.
  package let objectBytes: Int
  /// Bytes of this item in the payload; 0 for a miss.
  package let sentBytes: Int
  /// Checksum of the whole object, taken when it was stored.
  package let objectChecksum: Checksum
  /// Checksum of the bytes sent; 0 where the client asked for none.
  package let sentChecksum: Checksum

  /// Bytes of a descriptor on the wire.
  package static let byteCount = 40

  /// Describes a hit.
  package init(
    objectBytes: Int, sentBytes: Int, objectChecksum: Checksum, sentChecksum: Checksum,
    codec: PayloadCodec = .raw
  ) {
    miss = nil
    self.codec = codec
    self.objectBytes = objectBytes
    self.sentBytes = sentBytes
    self.objectChecksum = objectChecksum
    self.sentChecksum = sentChecksum
  }

  /// Describes a miss.
  package init(miss: MissCause) {
    self.miss = miss
    codec = .raw
    objectBytes = 0
    sentBytes = 0
    objectChecksum = Checksum(0)
    sentChecksum = Checksum(0)
  }

  /// Takes 40 bytes; throws a fault that names the field at fault: a hit with a cause, a miss
  /// without one or with bytes, an unknown codec.
  init(from reader: inout ByteReader) throws(FieldFault) {
    let state: UInt8 = try reader.take("miss")
    guard state <= 1 else {
      throw FieldFault("miss", value: UInt64(state), limit: 1, "must be 0 or 1")
    }
    miss = try MissCause.takeOptional(from: &reader)
    guard (miss != nil) == (state == 1) else {
      throw FieldFault(
        "missCause", value: UInt64(miss?.rawValue ?? 0), limit: 0, "a miss has a cause, a hit none")
    }
    codec = try PayloadCodec(from: &reader)
    try reader.takeReserved(count: 5)
    objectBytes = try reader.takeByteCount("objectBytes")
    sentBytes = try reader.takeByteCount("sentBytes", limit: miss == nil ? .max : 0)
    objectChecksum = Checksum(try reader.take("objectChecksum"))
    sentChecksum = Checksum(try reader.take("sentChecksum"))
  }

  func write(to writer: inout ByteWriter) {
    writer.put(UInt8(miss == nil ? 0 : 1))
    writer.put(miss?.rawValue ?? 0)
    writer.put(codec.rawValue)
    writer.putZeros(5)
    writer.put(UInt64(objectBytes))
    writer.put(UInt64(sentBytes))
    writer.put(objectChecksum.value)
    writer.put(sentChecksum.value)
  }
}

/// The answer to GET, in front of the payload.
package struct GetResponse: FrameBody {
  /// One descriptor per item, in the order of the request.
  package let descriptors: [GetDescriptor]

  /// Creates the answer.
  package init(descriptors: [GetDescriptor]) { self.descriptors = descriptors }

  /// Bytes of payload that the descriptors announce; nil if there are more than can be counted.
  package var sentBytes: Int? {
    var sum = 0
    for descriptor in descriptors {
      let (next, overflow) = sum.addingReportingOverflow(descriptor.sentBytes)
      guard !overflow else { return nil }
      sum = next
    }
    return sum
  }

  /// Decodes a whole body that answers a request for `count` items.
  ///
  /// - Throws: a fault that names `count` if it is another, `bodyLength`, or a descriptor's field.
  package init(from reader: inout ByteReader, count: Int) throws(FieldFault) {
    try reader.require(atLeast: 8)
    _ = try reader.takeCount("count", least: count, limit: count)
    try reader.takeZero(UInt32.self)
    try reader.require(exactly: count * GetDescriptor.byteCount)
    var descriptors: [GetDescriptor] = []
    descriptors.reserveCapacity(count)
    for _ in 0..<count { descriptors.append(try GetDescriptor(from: &reader)) }
    self.descriptors = descriptors
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(descriptors.count))
    writer.put(UInt32(0))
    for descriptor in descriptors { descriptor.write(to: &writer) }
  }
}
