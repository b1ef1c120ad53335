internal import DequeModule
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// The answer to one GET while it is put together: descriptors first, then bytes in place.
struct GetReply: ~Copyable {
  @safe private struct Piece {
    let start: UnsafeRawPointer
    var count: Int
    /// True if the lease of one more hit may end when this piece has been sent.
    let endsHit: Bool
  }

  private var descriptors: [GetDescriptor] = []
  private var pieces: [Piece] = []
  private var hits = UniqueDeque<ReadLease>()
  private var creditLeft: Int
  /// Bytes that the hits select together.
  private(set) var payloadBytes = 0

  /// Starts an answer that may select at most `creditBytes`.
  init(creditBytes: Int) {
    creditLeft = creditBytes
  }

  /// Adds a miss.
  mutating func miss(_ cause: MissCause) {
    descriptors.append(GetDescriptor(miss: cause))
  }

  /// Adds a hit, or an `over_credit` miss if it would select too much.
  mutating func hit(
    _ hit: consuming ReadLease, ranges: [Range<Int>], isWhole: Bool, isVerified: Bool
  ) {
    let selected = ranges.reduce(0) { $0 + $1.count }
    guard selected <= creditLeft else { return miss(.overCredit) }
    creditLeft -= selected
    payloadBytes += selected
    let object = hit.object
    let base = unsafe hit.lease.base
    var checksum = StreamingChecksum()
    for (index, range) in ranges.enumerated() {
      unsafe pieces.append(
        Piece(
          start: base + range.lowerBound, count: range.count, endsHit: index == ranges.count - 1))
      guard !isWhole, isVerified else { continue }
      unsafe checksum.update(
        UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
    }
    let sent = isWhole ? object.checksum : isVerified ? checksum.digest() : Checksum(0)
    descriptors.append(
      GetDescriptor(
        objectBytes: object.byteCount, sentBytes: selected, objectChecksum: object.checksum,
        sentChecksum: sent))
    hits.append(hit)
  }

  /// Queues the answer: one frame, or several of at most `frameBytesMax` bytes of payload each.
  consuming func send(
    over link: Link, id: UInt64, frameBytesMax: Int, encoder: inout FrameEncoder
  ) {
    let response = Response.get(GetResponse(descriptors: descriptors))
    var left = payloadBytes
    var index = 0
    var offset = 0
    repeat {
      let inFrame = min(left, frameBytesMax)
      left -= inFrame
      var writer = ByteWriter(capacity: 128)
      if left + inFrame == payloadBytes {
        encoder.response(response, id: id, more: left > 0, payloadLength: inFrame, to: &writer)
      } else {
        encoder.continuation(id: id, more: left > 0, payloadLength: inFrame, to: &writer)
      }
      guard inFrame > 0 else { return link.send(writer.bytes, isUrgent: true) }
      link.beginMessage(writer.bytes)
      var room = inFrame
      while room > 0 {
        let piece = pieces[index]
        let count = min(room, piece.count - offset)
        room -= count
        unsafe link.sendBorrowed(
          UnsafeRawBufferPointer(start: piece.start + offset, count: count), endsMessage: room == 0)
        offset += count
        guard offset == piece.count else { continue }
        if piece.endsHit { link.keep(hits.removeFirst().lease) }
        index += 1
        offset = 0
      }
    } while left > 0
  }
}
