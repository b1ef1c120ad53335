package import KDNCore

/// What a GET answers for one item.
package struct GetDescriptor: Equatable, Sendable {
  /// Why there are no bytes, nil for a hit.
  package let miss: MissCause?
  /// Codec of the bytes sent: raw, or one that the request accepts.
  package let codec: PayloadCodec
  /// Length of the whole object when it is not encoded, in bytes.
  package let objectBytes: Int
  /// Bytes of this item in the payload; 0 for a miss.
  package let sentBytes: Int
  /// Checksum of the whole object: as it was stored; for raw bytes of what is kept in a lossy
  /// codec only, as decoding gives it.
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
    guard miss == nil || codec == .raw else {
      throw FieldFault("codec", value: UInt64(codec.rawValue), limit: 0, "a miss has no codec")
    }
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

/// The answer to GET, in front of the payload if it is inline.
package struct GetResponse: FrameBody {
  /// One descriptor per item, in the order of the request.
  package let descriptors: [GetDescriptor]
  /// Where the bytes are; as the request wanted it.
  package let place: PayloadPlace
  /// Where the hits lie in shared memory; nil exactly if the bytes are not there.
  package let inPlace: InPlaceAnswer?

  /// Creates the answer whose bytes follow inline, or were written to the client's regions.
  package init(descriptors: [GetDescriptor], place: PayloadPlace = .inline) {
    precondition(place != .sharedMemory, "an answer in shared memory says where")
    self.descriptors = descriptors
    self.place = place
    inPlace = nil
  }

  /// Creates the answer whose bytes lie in shared memory; `inPlace` has one entry for each hit.
  package init(descriptors: [GetDescriptor], inPlace: InPlaceAnswer) {
    self.descriptors = descriptors
    place = .sharedMemory
    self.inPlace = inPlace
  }

  /// Bytes in front of the descriptors.
  package static let fixedByteCount = 8

  /// Bytes that the descriptors announce; nil if there are more than can be counted.
  package var sentBytes: Int? {
    var sum = 0
    for descriptor in descriptors {
      let (next, overflow) = sum.addingReportingOverflow(descriptor.sentBytes)
      guard !overflow else { return nil }
      sum = next
    }
    return sum
  }

  /// Decodes a whole body that answers a request for `count` items at `place`.
  ///
  /// - Throws: a fault that names `count` if it is another, `bodyLength`, `sentBytes` if no number
  ///   holds them, or a field of a descriptor or of where the hits lie.
  package init(
    from reader: inout ByteReader, count: Int, place: PayloadPlace = .inline
  ) throws(FieldFault) {
    try reader.require(atLeast: Self.fixedByteCount)
    _ = try reader.takeCount("count", least: count, limit: count)
    try reader.takeZero(UInt32.self)
    if place == .sharedMemory {
      try reader.require(atLeast: count * GetDescriptor.byteCount)
    } else {
      try reader.require(exactly: count * GetDescriptor.byteCount)
    }
    var descriptors: [GetDescriptor] = []
    descriptors.reserveCapacity(count)
    for _ in 0..<count { descriptors.append(try GetDescriptor(from: &reader)) }
    self.descriptors = descriptors
    self.place = place
    if place == .sharedMemory {
      let sentBytes = descriptors.filter { $0.miss == nil }.map(\.sentBytes)
      inPlace = try InPlaceAnswer(from: &reader, sentBytes: sentBytes)
    } else {
      inPlace = nil
    }
    guard sentBytes != nil else {
      throw FieldFault(
        "sentBytes", value: UInt64.max, limit: UInt64(Int.max), "too many bytes")
    }
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(UInt32(descriptors.count))
    writer.put(UInt32(0))
    for descriptor in descriptors { descriptor.write(to: &writer) }
    inPlace?.write(to: &writer)
  }
}
