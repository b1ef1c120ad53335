package import KDNCore

/// Where the bytes of a PUT_DATA are.
package enum PutSource: Hashable, Sendable {
  /// The frame's payload.
  case inline
  /// In the window that this connection opened.
  case window(offset: Int, byteCount: Int)
  /// In memory that the server reads over RDMA.
  case remote(RemoteRegion)

  /// The place alone, as in the frame's header.
  package var place: PayloadPlace {
    switch self {
    case .inline: .inline
    case .window: .sharedMemory
    case .remote: .remote
    }
  }

  /// How many bytes are there; nil if the frame's header says it.
  package var byteCount: Int? {
    switch self {
    case .inline: nil
    case .window(_, let byteCount): byteCount
    case .remote(let region): region.byteCount
    }
  }

  /// Takes what is left of a body; throws a fault that names `bodyLength`, `windowOffset`,
  /// `byteCount`, `reserved` or `address`.
  init(
    _ place: PayloadPlace, from reader: inout ByteReader, limits: Limits
  ) throws(FieldFault) {
    switch place {
    case .inline:
      try reader.require(exactly: 0)
      self = .inline
    case .sharedMemory:
      try reader.require(exactly: 16)
      let offset = try reader.takeByteCount("windowOffset")
      let byteCount = try reader.takeByteCount(
        "byteCount", least: 1, limit: limits.maxFramePayloadBytes)
      guard offset <= Int.max - byteCount else {
        throw FieldFault(
          "windowOffset", value: offset, limit: Int.max - byteCount, "ends too far out")
      }
      self = .window(offset: offset, byteCount: byteCount)
    case .remote:
      try reader.require(exactly: RemoteRegion.byteCount)
      self = .remote(try RemoteRegion(from: &reader, least: 1, limit: limits.maxObjectBytes))
    }
  }

  func write(to writer: inout ByteWriter) {
    switch self {
    case .inline: break
    case .window(let offset, let byteCount):
      writer.put(UInt64(offset))
      writer.put(UInt64(byteCount))
    case .remote(let region): region.write(to: &writer)
    }
  }
}

/// PUT_DATA: bytes of an object, and where in it they belong.
package struct PutDataRequest: FrameBody {
  /// The request id of the transfer's PUT_BEGIN.
  package let transferID: UInt64
  /// Position of the first byte in the object.
  package let offset: UInt64
  /// Where the bytes are.
  package let source: PutSource

  /// Creates the body.
  package init(transferID: UInt64, offset: UInt64, source: PutSource = .inline) {
    self.transferID = transferID
    self.offset = offset
    self.source = source
  }

  /// Decodes a whole body of a frame with this place; throws a fault that names `bodyLength` or a
  /// field of the source.
  package init(
    from reader: inout ByteReader, limits: Limits = Limits(), place: PayloadPlace = .inline
  ) throws(FieldFault) {
    try reader.require(atLeast: 16)
    transferID = try reader.take("transferID")
    offset = try reader.take("offset")
    source = try PutSource(place, from: &reader, limits: limits)
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(transferID)
    writer.put(offset)
    source.write(to: &writer)
  }
}

/// PUT_COMMIT: the transfer is complete.
package struct PutCommitRequest: FrameBody {
  /// The request id of the transfer's PUT_BEGIN.
  package let transferID: UInt64
  /// Checksum of all bytes of the object.
  package let checksum: Checksum

  /// Creates the body.
  package init(transferID: UInt64, checksum: Checksum) {
    self.transferID = transferID
    self.checksum = checksum
  }

  /// Decodes a whole body; throws a fault that names `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 16)
    transferID = try reader.take("transferID")
    checksum = Checksum(try reader.take("checksum"))
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(transferID)
    writer.put(checksum.value)
  }
}

/// The answer to PUT_COMMIT.
package struct PutCommitResponse: FrameBody {
  /// How the object came to be there; numbers as on the wire.
  package enum State: UInt8, Sendable {
    /// By this transfer.
    case published = 1
    /// By an earlier one, with the same bytes.
    case present = 2
  }

  /// How the object came to be there.
  package let state: State
  /// Checksum of the object.
  package let checksum: Checksum

  /// Creates the answer.
  package init(state: State, checksum: Checksum) {
    self.state = state
    self.checksum = checksum
  }

  /// Decodes a whole body; throws a fault that names `state`, `reserved` or `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 16)
    let rawState: UInt8 = try reader.take("state")
    guard let state = State(rawValue: rawState) else {
      throw FieldFault("state", value: UInt64(rawState), limit: 2, "must be 1 or 2")
    }
    self.state = state
    try reader.takeReserved(count: 7)
    checksum = Checksum(try reader.take("objectChecksum"))
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(state.rawValue)
    writer.putZeros(7)
    writer.put(checksum.value)
  }
}

/// PUT_ABORT: the transfer shall leave nothing behind.
package struct PutAbortRequest: FrameBody {
  /// The request id of the transfer's PUT_BEGIN.
  package let transferID: UInt64

  /// Creates the body.
  package init(transferID: UInt64) { self.transferID = transferID }

  /// Decodes a whole body; throws a fault that names `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    transferID = try reader.take("transferID")
  }

  package func write(to writer: inout ByteWriter) { writer.put(transferID) }
}

/// RELEASE: a lease is no longer needed.
package struct ReleaseRequest: FrameBody {
  /// The lease, as MATCH gave it.
  package let leaseID: UInt64

  /// Creates the body.
  package init(leaseID: UInt64) { self.leaseID = leaseID }

  /// Decodes a whole body; throws a fault that names `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 8)
    leaseID = try reader.take("leaseID")
  }

  package func write(to writer: inout ByteWriter) { writer.put(leaseID) }
}
