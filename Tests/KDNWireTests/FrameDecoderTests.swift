import KDNCore
import KDNWire
import Testing

/// One frame as a decoder gave it.
private struct Taken: Equatable {
  var header: FrameHeader
  var body: [UInt8]
  var intact: Bool
  var payload: [UInt8]
}

/// Feeds `pieces` to a decoder the way a link does, and collects what comes out.
private func take(
  _ pieces: [ArraySlice<UInt8>], maxBodyBytes: Int = 1 << 20, payloadStep: Int = 7
) throws -> [Taken] {
  var decoder = FrameDecoder(maxBodyBytes: maxBodyBytes, maxFramePayloadBytes: 4 << 20)
  var frames: [Taken] = []
  for piece in pieces {
    decoder.append(Array(piece).span)
    while true {
      while decoder.bufferedPayloadBytes > 0 {
        var room = [UInt8](repeating: 0, count: payloadStep)
        var span = room.mutableSpan
        let count = decoder.takeBufferedPayload(into: &span)
        frames[frames.count - 1].payload += room.prefix(count)
      }
      guard let header = try decoder.nextFrame() else { break }
      var body = decoder.body
      frames.append(
        Taken(
          header: header, body: Array(try body.takeBytes("body", count: body.remaining)),
          intact: decoder.bodyIsIntact, payload: []))
    }
    #expect(decoder.bufferedBytes < FrameHeader.byteCount + maxBodyBytes)
  }
  return frames
}

/// All well-formed frames of the vectors, one behind the other.
private let stream = Vectors.frames.flatMap(\.bytes)

@Suite("Frame decoder")
struct FrameDecoderTests {
  private func whole() throws -> [Taken] { try take([stream[...]]) }

  @Test("a stream in one piece gives each frame with its body and payload")
  func onePiece() throws {
    let frames = try whole()
    #expect(frames.count == Vectors.frames.count)
    for (frame, vector) in zip(frames, Vectors.frames) {
      #expect(frame.intact)
      #expect(frame.body == vector.body)
      #expect(hexadecimal(frame.payload) == vector.fields.payload)
    }
  }

  @Test(
    "a stream fed in pieces of any one size gives the same frames",
    arguments: [1, 2, 3, 5, 31, 63, 64, 65, 127, 1000, 4096])
  func drip(_ size: Int) throws {
    let pieces = stride(from: 0, to: stream.count, by: size).map {
      stream[$0..<min($0 + size, stream.count)]
    }
    #expect(try take(pieces) == whole())
  }

  @Test("a stream split at any one point gives the same frames")
  func splits() throws {
    let short = Vectors.frames.prefix(12).flatMap(\.bytes)
    let expected = try take([short[...]])
    for point in 0...short.count {
      #expect(try take([short[..<point], short[point...]]) == expected, "split at \(point)")
    }
  }

  @Test("a stream in random pieces gives the same frames", arguments: 1...20)
  func randomPieces(_ seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var pieces: [ArraySlice<UInt8>] = []
    var start = 0
    while start < stream.count {
      let end = min(stream.count, start + Int.random(in: 1...700, using: &random))
      pieces.append(stream[start..<end])
      start = end
    }
    #expect(try take(pieces, payloadStep: Int.random(in: 1...300, using: &random)) == whole())
  }

  @Test("a frame cut off at any point is neither given nor refused", arguments: Vectors.frames)
  func truncated(_ vector: FrameVector) throws {
    let control = vector.bytes.count - vector.fields.payload.count / 2
    for count in 0..<control {
      var decoder = FrameDecoder(maxBodyBytes: 1 << 20)
      let front = Array(vector.bytes.prefix(count))
      decoder.append(front.span)
      #expect(try decoder.nextFrame() == nil)
      let stage = count < 64 ? 64 : control
      #expect(decoder.wantedControlBytes == stage - count)
    }
  }

  @Test("any flipped bit of header or body is found", arguments: Vectors.frames)
  func flipped(_ vector: FrameVector) throws {
    let control = vector.bytes.count - vector.fields.payload.count / 2
    for bit in 0..<control * 8 {
      var bytes = vector.bytes
      bytes[bit / 8] ^= 1 << (bit % 8)
      var decoder = FrameDecoder(maxBodyBytes: 1 << 20)
      decoder.append(bytes.span)
      if bit < 64 * 8 {
        #expect(throws: FramingFault.self, "bit \(bit)") { _ = try decoder.nextFrame() }
      } else {
        #expect(try decoder.nextFrame() != nil)
        #expect(!decoder.bodyIsIntact, "bit \(bit)")
      }
    }
  }

  @Test("payload that the link reads to its place is accounted for before the next frame")
  func payloadBypass() throws {
    var writer = ByteWriter()
    var encoder = FrameEncoder()
    let data = PutDataRequest(transferID: 1, offset: 0)
    encoder.request(.putData(data), id: 1, payloadLength: 100, to: &writer)
    var decoder = FrameDecoder()
    decoder.append(writer.bytes.span)
    decoder.append([UInt8](repeating: 5, count: 30).span)
    #expect(try decoder.nextFrame()?.payloadLength == 100)
    #expect(try decoder.nextFrame() == nil)
    #expect(decoder.wantedControlBytes == 0)
    #expect(decoder.skipBufferedPayload() == 30)
    decoder.payloadArrived(69)
    #expect(decoder.payloadRemaining == 1)
    #expect(try decoder.nextFrame() == nil)
    decoder.payloadArrived(1)
    #expect(decoder.wantedControlBytes == 64)
    decoder.append(writer.bytes.span)
    #expect(try decoder.nextFrame()?.requestID == 1)
  }

  @Test("limits are those set at the time a header arrives")
  func limits() throws {
    var writer = ByteWriter()
    let header = FrameHeader(op: 4, requestID: 1, bodyLength: 65, payloadLength: 33)
    header.encode(into: &writer)
    var tight = FrameDecoder(maxBodyBytes: 64, maxFramePayloadBytes: 32)
    tight.append(writer.bytes.span)
    #expect(throws: FramingFault.bodyTooLong(65, limit: 64)) { _ = try tight.nextFrame() }
    tight.maxBodyBytes = 65
    #expect(throws: FramingFault.payloadTooLong(33, limit: 32)) { _ = try tight.nextFrame() }
    tight.maxFramePayloadBytes = 33
    #expect(try tight.nextFrame() == nil)
    #expect(tight.wantedControlBytes == 65)
  }

  @Test("a header's faults name value and limit")
  func faults() {
    #expect(FramingFault.magic(1).fault.value == 1)
    #expect(FramingFault.version(9).fault.limit == 1)
    #expect(FramingFault.headerChecksum(found: 1, expected: 2).fault.field == "headerChecksum")
    #expect(FramingFault.bodyTooLong(7, limit: 5).fault.limit == 5)
    #expect(FramingFault.payloadTooLong(7, limit: 5).fault.field == "payloadLength")
  }

  @Test("all bytes of a header come back as they went in")
  func header() throws {
    let header = FrameHeader(
      op: 200, flags: [.response, .more], requestID: .max, bodyLength: Int(UInt32.max),
      status: 0xABCD, place: 2, payloadLength: .max, deadlineMilliseconds: .max,
      bodyChecksum: 0x0123_4567_89AB_CDEF)
    var writer = ByteWriter()
    header.encode(into: &writer)
    #expect(writer.count == 64)
    var reader = ByteReader(writer.bytes)
    #expect(try FrameHeader(from: &reader) == header)
    #expect(reader.remaining == 0)
  }
}
