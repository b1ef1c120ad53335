package import KDNCore

/// Appends whole frames, header and body with their checksums; payload is sent by the link.
///
/// A value keeps scratch memory, so one per connection encodes without allocating.
package struct FrameEncoder {
  private var body = ByteWriter(capacity: 512)
  private var front = ByteWriter(capacity: FrameHeader.byteCount)

  /// Creates an encoder.
  package init() {}

  /// Appends a request with the body that `fill` writes.
  package mutating func request(
    _ operation: Operation, id: UInt64, deadlineMilliseconds: UInt32 = 0, payloadLength: Int = 0,
    place: PayloadPlace = .inline, to writer: inout ByteWriter,
    body fill: (inout ByteWriter) -> Void
  ) {
    precondition(place == .inline || payloadLength == 0, "payload is in one place")
    let header = FrameHeader(
      op: operation.rawValue, requestID: id, place: place.rawValue, payloadLength: payloadLength,
      deadlineMilliseconds: deadlineMilliseconds)
    append(header, to: &writer, body: fill)
  }

  /// Appends `request`; the header's place is what its body says.
  package mutating func request(
    _ request: Request, id: UInt64, deadlineMilliseconds: UInt32 = 0, payloadLength: Int = 0,
    to writer: inout ByteWriter
  ) {
    self.request(
      request.operation, id: id, deadlineMilliseconds: deadlineMilliseconds,
      payloadLength: payloadLength, place: request.place, to: &writer
    ) { request.write(to: &$0) }
  }

  /// Appends an answer with status ok and the body that `fill` writes.
  package mutating func response(
    _ operation: Operation, id: UInt64, more: Bool = false, payloadLength: Int = 0,
    place: PayloadPlace = .inline, to writer: inout ByteWriter,
    body fill: (inout ByteWriter) -> Void
  ) {
    precondition(place == .inline || (payloadLength == 0 && !more), "payload is in one place")
    let header = FrameHeader(
      op: operation.rawValue, flags: more ? [.response, .more] : .response, requestID: id,
      place: place.rawValue, payloadLength: payloadLength)
    append(header, to: &writer, body: fill)
  }

  /// Appends `response` with status ok; the header's place is what its body says.
  package mutating func response(
    _ response: Response, id: UInt64, more: Bool = false, payloadLength: Int = 0,
    to writer: inout ByteWriter
  ) {
    self.response(
      response.operation, id: id, more: more, payloadLength: payloadLength, place: response.place,
      to: &writer
    ) { response.write(to: &$0) }
  }

  /// Appends a further frame of an answer of `operation`, which has payload and no body.
  package mutating func continuation(
    of operation: Operation = .get, id: UInt64, more: Bool, payloadLength: Int,
    to writer: inout ByteWriter
  ) {
    response(operation, id: id, more: more, payloadLength: payloadLength, to: &writer) { _ in }
  }

  /// Appends an answer with `status`, which is not ok, to the operation number `op`.
  package mutating func error(
    _ op: UInt8, id: UInt64, _ status: Status, _ error: ErrorBody = ErrorBody(),
    to writer: inout ByteWriter
  ) {
    precondition(status != .ok, "an error has a status other than ok")
    let header = FrameHeader(op: op, flags: .response, requestID: id, status: status.rawValue)
    append(header, to: &writer) { error.write(to: &$0) }
  }

  /// Appends a GOAWAY that says why.
  package mutating func goAway(
    _ status: Status, _ error: ErrorBody = ErrorBody(), to writer: inout ByteWriter
  ) {
    self.error(Operation.goAway.rawValue, id: 0, status, error, to: &writer)
  }

  private mutating func append(
    _ header: FrameHeader, to writer: inout ByteWriter, body fill: (inout ByteWriter) -> Void
  ) {
    body.removeAll()
    fill(&body)
    var header = header
    header.bodyLength = body.count
    header.bodyChecksum = body.count == 0 ? 0 : Checksum(of: body.bytes).value
    header.encode(into: &writer, sealingWith: &front)
    writer.put(contentsOf: body.bytes)
    if body.count > Self.keptBytesMax { body = ByteWriter(capacity: 512) }
  }

  /// Scratch memory that is kept between frames, in bytes.
  private static let keptBytesMax = 64 << 10
}
