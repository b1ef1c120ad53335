package import KDNCore

/// PUT_DATA: where the payload of its frame belongs.
package struct PutDataRequest: FrameBody {
  /// The request id of the transfer's PUT_BEGIN.
  package let transferID: UInt64
  /// Position of the payload's first byte in the object.
  package let offset: UInt64

  /// Creates the body.
  package init(transferID: UInt64, offset: UInt64) {
    self.transferID = transferID
    self.offset = offset
  }

  /// Decodes a whole body; throws a fault that names `bodyLength`.
  package init(from reader: inout ByteReader) throws(FieldFault) {
    try reader.require(exactly: 16)
    transferID = try reader.take("transferID")
    offset = try reader.take("offset")
  }

  package func write(to writer: inout ByteWriter) {
    writer.put(transferID)
    writer.put(offset)
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
