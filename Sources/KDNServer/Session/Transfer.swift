internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNWire

/// A PUT between BEGIN and COMMIT: where its bytes go, how many came, what went wrong.
final class Transfer {
  /// What the client said of the object.
  let facts: StoreFacts
  /// Whether COMMIT is answered only when the object survives a loss of power.
  let isDurable: Bool
  /// Room for the bytes; nil once it failed or where the object was there already.
  private var reservation: StoreReservation?
  private var checksum = StreamingChecksum()
  /// Bytes received and kept so far.
  private(set) var receivedBytes = 0
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
  var isReceiving: Bool { reservation != nil }

  /// Gives up: the room goes back at once, further bytes are dropped.
  func fail(_ refusal: Refusal) {
    guard failure == nil else { return }
    failure = refusal
    reservation = nil
  }

  /// Checks that a piece continues where the last one ended and fits; fails the transfer if not.
  func expect(offset: UInt64, length: Int, now: Instant) {
    lastProgress = now
    guard isReceiving else { return }
    guard offset == UInt64(receivedBytes) else {
      let fault = FieldFault(
        "offset", value: offset, limit: UInt64(receivedBytes), "does not continue the bytes before")
      return fail(.fault(fault))
    }
    guard length <= facts.byteCount - receivedBytes else {
      let fault = FieldFault(
        "payloadLength", value: receivedBytes + length, limit: facts.byteCount,
        "more bytes than BEGIN announced")
      return fail(.fault(fault))
    }
  }

  /// Lends the room for the next `count` bytes; nil if bytes are dropped.
  func room(for count: Int) -> UnsafeMutableRawBufferPointer? {
    guard let base = unsafe reservation?.memory.base else { return nil }
    return unsafe UnsafeMutableRawBufferPointer(
      start: base + receivedBytes, count: min(count, facts.byteCount - receivedBytes))
  }

  /// Takes the checksum of `count` bytes that have been put into the room.
  func received(_ count: Int, now: Instant) {
    guard let base = unsafe reservation?.memory.base else { return }
    unsafe checksum.update(UnsafeRawBufferPointer(start: base + receivedBytes, count: count))
    receivedBytes += count
    lastProgress = now
  }

  /// Ends the transfer and gives its reservation away, if all bytes are there and whole.
  func finish(_ announced: Checksum) -> Outcome {
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
