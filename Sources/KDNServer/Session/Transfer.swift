internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNWire

/// A PUT between BEGIN and COMMIT: where its bytes go, how many came, what went wrong.
///
/// While READs write into its room, the room stays though the transfer has failed or is forgotten:
/// whoever carries the READs out holds the transfer until each of them is over.
final class Transfer {
  /// What the client said of the object.
  let facts: StoreFacts
  /// Whether COMMIT is answered only when the object survives a loss of power.
  let isDurable: Bool
  /// Room for the bytes; nil where the object was there already, and once it failed and no READ
  /// writes into it.
  private var reservation: StoreReservation?
  private var checksum = StreamingChecksum()
  /// Bytes received and kept so far.
  private(set) var receivedBytes = 0
  /// Bytes that READs in flight bring, behind those received.
  private(set) var bytesInFlight = 0
  /// Some of its bytes were fetched by READs: then all that follow must be.
  private var isRemote = false
  /// The first thing that went wrong; told at COMMIT.
  private(set) var failure: Refusal?
  /// When the last bytes came.
  private(set) var lastProgress: Instant

  /// Opens a transfer; without a reservation its bytes are dropped.
  init(
    facts: StoreFacts, isDurable: Bool = false, reservation: consuming StoreReservation?,
    now: Instant
  ) {
    self.facts = facts
    self.isDurable = isDurable
    self.reservation = reservation
    self.lastProgress = now
  }

  /// Opens a transfer that has failed already: its bytes are dropped, COMMIT tells why.
  init(facts: StoreFacts, failure: Refusal, now: Instant) {
    self.facts = facts
    self.isDurable = false
    self.failure = failure
    self.lastProgress = now
  }

  /// True if bytes are kept.
  var isReceiving: Bool { failure == nil && reservation != nil }
  /// READs that may still write into the room, in bytes; COMMIT waits for them.
  var readsInFlight: Int { bytesInFlight }

  /// Gives up: further bytes are dropped, and the room goes back once no READ writes into it.
  func fail(_ refusal: Refusal) {
    guard failure == nil else { return }
    failure = refusal
    if bytesInFlight == 0 { reservation = nil }
  }

  /// Checks that a piece continues where the last one ended and fits; fails the transfer if not.
  func expect(offset: UInt64, length: Int, now: Instant) {
    lastProgress = now
    guard isReceiving else { return }
    guard !isRemote else {
      let fault = FieldFault(
        "place", value: 0, limit: UInt64(PayloadPlace.remote.rawValue),
        "the bytes before are fetched from the client: all must be")
      return fail(.fault(fault))
    }
    check(offset: offset, length: length)
  }

  private func check(offset: UInt64, length: Int) {
    let end = receivedBytes + bytesInFlight
    guard offset == UInt64(end) else {
      let fault = FieldFault(
        "offset", value: offset, limit: UInt64(end), "does not continue the bytes before")
      return fail(.fault(fault))
    }
    guard length <= facts.byteCount - end else {
      let (sum, overflows) = end.addingReportingOverflow(length)
      let fault = FieldFault(
        "payloadLength", value: overflows ? .max : sum, limit: facts.byteCount,
        "more bytes than BEGIN announced")
      return fail(.fault(fault))
    }
  }

  // MARK: READs

  /// Lends the room that a READ of `length` bytes fills; nil if it is not to be made.
  ///
  /// The READ must be told of by `readArrived` or `readCancelled`, or keep the transfer for good.
  func beginRead(
    offset: UInt64, length: Int, now: Instant
  ) -> (bytes: UnsafeMutableRawBufferPointer, slab: Slab)? {
    lastProgress = now
    guard isReceiving else { return nil }
    check(offset: offset, length: length)
    guard isReceiving, let base = unsafe reservation?.memory.base,
      let slab = reservation?.memory.slab
    else { return nil }
    let start = receivedBytes + bytesInFlight
    isRemote = true
    bytesInFlight += length
    return unsafe (UnsafeMutableRawBufferPointer(start: base + start, count: length), slab)
  }

  /// A READ has brought the next `count` bytes: takes their checksum, unless nobody wants them.
  ///
  /// - Returns: how many bytes were hashed.
  func readArrived(_ count: Int, now: Instant) -> Int {
    bytesInFlight -= count
    guard failure == nil else {
      if bytesInFlight == 0 { reservation = nil }
      return 0
    }
    received(count, now: now)
    return count
  }

  /// READs of `count` bytes will not be made.
  func readCancelled(_ count: Int) {
    precondition(failure != nil, "who still wants the bytes cancels no READ")
    bytesInFlight -= count
    if bytesInFlight == 0 { reservation = nil }
  }

  // MARK: The stream

  /// Lends the room for the next `count` bytes; nil if bytes are dropped.
  func room(for count: Int) -> UnsafeMutableRawBufferPointer? {
    guard isReceiving, let base = unsafe reservation?.memory.base else { return nil }
    return unsafe UnsafeMutableRawBufferPointer(
      start: base + receivedBytes, count: min(count, facts.byteCount - receivedBytes))
  }

  /// Takes the checksum of `count` bytes that have been put into the room.
  func received(_ count: Int, now: Instant) {
    guard isReceiving, let base = unsafe reservation?.memory.base else { return }
    unsafe checksum.update(UnsafeRawBufferPointer(start: base + receivedBytes, count: count))
    receivedBytes += count
    lastProgress = now
  }

  /// Copies `range` of a window behind the bytes received, and takes the checksum of the copy;
  /// false if the window cannot be read.
  func copy(_ range: Range<Int>, of window: SharedWindow, now: Instant) -> Bool {
    var start = range.lowerBound
    while start < range.upperBound {
      let count = min(range.upperBound - start, Self.copyBytes)
      guard let room = unsafe room(for: count), room.count == count,
        let target = room.baseAddress
      else { return false }
      guard unsafe window.copy(start..<start + count, to: target) else { return false }
      received(count, now: now)
      start += count
    }
    return true
  }

  /// Bytes that are copied at once; few enough to be hashed while in cache.
  private static let copyBytes = 256 << 10

  /// Ends the transfer and gives its reservation away, if all bytes are there and whole.
  func finish(_ announced: Checksum) -> Outcome {
    precondition(bytesInFlight == 0, "COMMIT waits for the READs")
    if let failure { return .failed(failure) }
    guard let reservation = takeReservation() else { return .confirm }
    guard receivedBytes == facts.byteCount else {
      return .failed(
        .fault(
          FieldFault(
            "receivedBytes", value: receivedBytes, limit: facts.byteCount, "bytes are missing")))
    }
    let found = checksum.digest()
    guard found == announced else {
      return .failed(.checksum(found: found, announced: announced))
    }
    return .publish(reservation)
  }

  private func takeReservation() -> StoreReservation? {
    var taken: StoreReservation? = nil
    swap(&taken, &reservation)
    return taken
  }

  /// What COMMIT finds.
  enum Outcome: ~Copyable {
    /// All bytes are there: publish them.
    case publish(StoreReservation)
    /// The object was there at BEGIN: compare.
    case confirm
    /// It went wrong before, or now.
    case failed(Refusal)
  }
}
