package import KDNCore

/// Facts of a frame that are one bit each.
package struct FrameFlags: OptionSet, Hashable, Sendable {
  package let rawValue: UInt16

  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The frame answers a request, or the server started it.
  package static let response = FrameFlags(rawValue: 1)
  /// Whoever does not know the operation skips the frame without an answer.
  package static let optional = FrameFlags(rawValue: 2)
  /// More frames of the same answer follow.
  package static let more = FrameFlags(rawValue: 4)
}

/// The 64 bytes in front of each frame.
package struct FrameHeader: Equatable, Sendable {
  /// Operation number; may be one that this build does not know.
  package var op: UInt8
  /// Flags, unknown bits included.
  package var flags: FrameFlags
  /// Chosen by the client; 0 in frames that the server starts.
  package var requestID: UInt64
  /// Bytes of body behind the header.
  package var bodyLength: Int
  /// Status number, 0 in requests.
  package var status: UInt16
  /// Where the payload is, as `PayloadPlace` numbers it; may be one that this build does not know.
  package var place: UInt8
  /// Bytes of payload behind the body.
  package var payloadLength: Int
  /// How long the answer is of use, in milliseconds from arrival; 0 is the server's default.
  package var deadlineMilliseconds: UInt32
  /// XXH3-64 of the body, 0 if it is empty.
  package var bodyChecksum: UInt64
  /// All reserved bytes or'ed together: 0 in a well-formed frame.
  package private(set) var reserved: UInt64 = 0

  /// Bytes of a header.
  package static let byteCount = 64
  /// `KDNP`, read as a little-endian number.
  package static let magic: UInt32 = 0x504E_444B
  /// The protocol version of this build.
  package static let version: UInt8 = 1

  /// Creates a header; the encoder fills in body length and checksum.
  package init(
    op: UInt8, flags: FrameFlags = [], requestID: UInt64, bodyLength: Int = 0,
    status: UInt16 = 0, place: UInt8 = 0, payloadLength: Int = 0,
    deadlineMilliseconds: UInt32 = 0, bodyChecksum: UInt64 = 0
  ) {
    self.op = op
    self.flags = flags
    self.requestID = requestID
    self.bodyLength = bodyLength
    self.status = status
    self.place = place
    self.payloadLength = payloadLength
    self.deadlineMilliseconds = deadlineMilliseconds
    self.bodyChecksum = bodyChecksum
  }

  /// The operation, if this build knows it.
  package var operation: Operation? { Operation(rawValue: op) }

  /// Appends the 64 bytes to `writer`.
  package func encode(into writer: inout ByteWriter) {
    var front = ByteWriter(capacity: Self.byteCount)
    encode(into: &writer, sealingWith: &front)
  }

  /// Appends the 64 bytes to `writer`; `scratch` is memory that the caller keeps for reuse.
  func encode(into writer: inout ByteWriter, sealingWith scratch: inout ByteWriter) {
    precondition(bodyLength >= 0 && bodyLength <= UInt32.max && payloadLength >= 0)
    scratch.removeAll()
    scratch.put(Self.magic)
    scratch.put(Self.version)
    scratch.put(op)
    scratch.put(flags.rawValue)
    scratch.put(requestID)
    scratch.put(UInt32(bodyLength))
    scratch.put(status)
    scratch.put(place)
    scratch.put(UInt8(0))
    scratch.put(UInt64(payloadLength))
    scratch.put(deadlineMilliseconds)
    scratch.put(UInt32(0))
    scratch.put(bodyChecksum)
    scratch.put(UInt64(0))
    scratch.put(UInt32(0))
    scratch.put(UInt32(truncatingIfNeeded: Checksum(of: scratch.bytes).value))
    writer.put(contentsOf: scratch.bytes)
  }

  /// Takes a header from `reader`, which must hold 64 bytes or more.
  ///
  /// - Throws: a framing fault if magic, version or header checksum are wrong, or if body or
  ///   payload are longer than `maxBodyBytes` and `maxFramePayloadBytes`.
  package init(
    from reader: inout ByteReader, maxBodyBytes: Int = .max, maxFramePayloadBytes: Int = .max
  ) throws(FramingFault) {
    precondition(reader.remaining >= Self.byteCount, "a header is decoded when it is complete")
    let seal = UInt32(truncatingIfNeeded: reader.checksum(next: Self.byteCount - 4).value)
    let fields: Fields
    do {
      fields = try Fields(from: &reader)
    } catch {
      preconditionFailure("64 bytes were there: \(error)")
    }
    guard fields.magic == Self.magic else { throw .magic(fields.magic) }
    guard fields.version == Self.version else { throw .version(fields.version) }
    guard fields.seal == seal else {
      throw .headerChecksum(found: fields.seal, expected: seal)
    }
    guard Int(fields.bodyLength) <= maxBodyBytes else {
      throw .bodyTooLong(UInt64(fields.bodyLength), limit: maxBodyBytes)
    }
    guard let payloadLength = Int(exactly: fields.payloadLength),
      payloadLength <= maxFramePayloadBytes
    else { throw .payloadTooLong(fields.payloadLength, limit: maxFramePayloadBytes) }
    self.init(
      op: fields.op, flags: FrameFlags(rawValue: fields.flags), requestID: fields.requestID,
      bodyLength: Int(fields.bodyLength), status: fields.status, place: fields.place,
      payloadLength: payloadLength, deadlineMilliseconds: fields.deadline,
      bodyChecksum: fields.bodyChecksum)
    reserved = fields.reserved
  }

  /// The fields as they lie in the 64 bytes, nothing checked.
  private struct Fields {
    let magic: UInt32
    let version: UInt8
    let op: UInt8
    let flags: UInt16
    let requestID: UInt64
    let bodyLength: UInt32
    let status: UInt16
    let place: UInt8
    let payloadLength: UInt64
    let deadline: UInt32
    let bodyChecksum: UInt64
    let reserved: UInt64
    let seal: UInt32

    init(from reader: inout ByteReader) throws(FieldFault) {
      magic = try reader.take("magic")
      version = try reader.take("version")
      op = try reader.take("op")
      flags = try reader.take("flags")
      requestID = try reader.take("requestID")
      bodyLength = try reader.take("bodyLength")
      status = try reader.take("status")
      place = try reader.take("place")
      let gap = UInt64(try reader.take("reserved", as: UInt8.self))
      payloadLength = try reader.take("payloadLength")
      deadline = try reader.take("deadlineMillis")
      let word = UInt64(try reader.take("reserved", as: UInt32.self))
      bodyChecksum = try reader.take("bodyChecksum")
      let long: UInt64 = try reader.take("reserved")
      reserved = gap | word | long | UInt64(try reader.take("reserved", as: UInt32.self))
      seal = try reader.take("headerChecksum")
    }
  }
}
