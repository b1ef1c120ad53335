internal import DequeModule
internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// The answer to one GET while it is put together: descriptors first, then where the bytes lie.
///
/// The bytes themselves are touched only for checksums of partial items.
struct GetReply: ~Copyable {
  /// A run of bytes of a hit.
  @safe struct Piece {
    let start: UnsafeRawPointer
    var count: Int
    /// True if the lease of one more hit may end when this piece has been sent.
    let endsHit: Bool
  }

  /// How much an answer may be.
  struct Room {
    /// Bytes that all hits may select.
    var creditBytes: Int
    /// Bytes of the body beside its fixed fields and descriptors; only places take them.
    var bodyBytes = Int.max
  }

  private(set) var descriptors: [GetDescriptor] = []
  /// Runs of all hits, in their order; none in an answer in place.
  private(set) var pieces: [Piece] = []
  /// What keeps the bytes of the hits; empty in an answer in place.
  var hits = UniqueDeque<ReadLease>()
  /// Where the hits lie in their slabs; only in an answer in place.
  private(set) var places: [SlabExtents] = []
  /// What keeps them then; nil without a hit.
  private(set) var lease: InPlaceLease?
  private let isInPlace: Bool
  private var room: Room
  /// Bytes that the hits select together.
  private(set) var payloadBytes = 0
  /// What was delivered in which form.
  private(set) var tally = DeliveryTally()
  /// Bytes of which a checksum was taken.
  private(set) var hashedBytes = 0

  /// Starts an answer that may be as much as `room`; `isInPlace` for one that lends bytes.
  init(room: Room, isInPlace: Bool = false) {
    self.room = room
    self.isInPlace = isInPlace
  }

  /// Adds a miss.
  mutating func miss(_ cause: MissCause) {
    tally.count(cause)
    descriptors.append(GetDescriptor(miss: cause))
  }

  /// Adds a hit, or an `over_credit` miss if it would select too much.
  ///
  /// `ranges` are those of the lease's bytes, in whatever form these are.
  mutating func hit(
    _ hit: consuming ReadLease, ranges: consuming [Range<Int>], isWhole: Bool, isVerified: Bool
  ) {
    let selected = ranges.reduce(0) { $0 + $1.count }
    let placeBytes = isInPlace ? SlabExtents.byteCount(extents: ranges.count) : 0
    guard selected <= room.creditBytes, placeBytes <= room.bodyBytes else {
      return miss(.overCredit)
    }
    room.creditBytes -= selected
    room.bodyBytes -= placeBytes
    payloadBytes += selected
    let object = hit.object
    let checksum =
      isWhole ? hit.checksum : isVerified ? hash(ranges, of: hit.lease) : Checksum(0)
    descriptors.append(
      GetDescriptor(
        objectBytes: object.byteCount, sentBytes: selected,
        objectChecksum: hit.rawChecksum, sentChecksum: checksum, codec: hit.codec))
    tally.count(hit.codec, sentBytes: selected, rawBytes: isWhole ? object.byteCount : selected)
    if isInPlace {
      lend(hit, ranges: ranges, byteCount: selected)
    } else {
      let base = unsafe hit.lease.base
      for (index, range) in ranges.enumerated() {
        let isLast = index == ranges.count - 1
        unsafe pieces.append(
          Piece(start: base + range.lowerBound, count: range.count, endsHit: isLast))
      }
      hits.append(hit)
    }
  }

  private mutating func hash(_ ranges: [Range<Int>], of lease: borrowing Lease) -> Checksum {
    var checksum = StreamingChecksum()
    for range in ranges {
      unsafe checksum.update(
        UnsafeRawBufferPointer(start: lease.base + range.lowerBound, count: range.count))
      hashedBytes += range.count
    }
    return checksum.digest()
  }

  /// Tells where a hit lies, and keeps it there.
  private mutating func lend(
    _ hit: consuming ReadLease, ranges: consuming [Range<Int>], byteCount: Int
  ) {
    let block = hit.lease.block
    for index in ranges.indices {
      let range = ranges[index]
      ranges[index] = range.lowerBound + block.offset..<range.upperBound + block.offset
    }
    places.append(SlabExtents(slabID: block.slab.id, extents: ranges))
    if lease == nil { lease = InPlaceLease() }
    lease?.append(hit, byteCount: byteCount)
  }

  /// Queues an answer that bears its payload: one frame, or several of at most `frameBytesMax`
  /// bytes of payload each.
  consuming func send(
    over link: any SessionLink, id: UInt64, of operation: Operation = .get, frameBytesMax: Int,
    encoder: inout FrameEncoder
  ) {
    let answer = GetResponse(descriptors: descriptors)
    let response =
      operation == .get ? Response.get(answer) : .codecProfile(.described(answer))
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
        encoder.continuation(
          of: operation, id: id, more: left > 0, payloadLength: inFrame, to: &writer)
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
