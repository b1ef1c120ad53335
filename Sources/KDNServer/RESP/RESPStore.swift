internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNWire

/// A SET while its value arrives: where the bytes go, or why they go nowhere.
final class RESPStore {
  /// The key's name.
  let name: [UInt8]
  /// The object's name.
  let key: ObjectKey
  /// Length of the value.
  let byteCount: Int
  /// When the value began.
  let arrival: Instant
  /// Why nothing is kept; nil if all is well.
  let refusal: RESPError?
  private var reservation: StoreReservation?
  private var checksum = StreamingChecksum()
  private var receivedBytes = 0

  init(
    _ name: [UInt8], _ key: ObjectKey, byteCount: Int, arrival: Instant,
    reservation: consuming StoreReservation
  ) {
    self.name = name
    self.key = key
    self.byteCount = byteCount
    self.arrival = arrival
    refusal = nil
    self.reservation = consume reservation
  }

  /// A value whose bytes are dropped.
  init(
    _ name: [UInt8], _ key: ObjectKey, byteCount: Int, arrival: Instant, refusal: RESPError
  ) {
    self.name = name
    self.key = key
    self.byteCount = byteCount
    self.arrival = arrival
    self.refusal = refusal
  }

  /// Lends the room for the next `count` bytes; nil if bytes are dropped.
  func room(for count: Int) -> UnsafeMutableRawBufferPointer? {
    guard let base = unsafe reservation?.memory.base else { return nil }
    return unsafe UnsafeMutableRawBufferPointer(
      start: base + receivedBytes, count: min(count, byteCount - receivedBytes))
  }

  /// Takes the checksum of `count` bytes that have been put into the room.
  func received(_ count: Int) {
    guard let base = unsafe reservation?.memory.base else { return }
    unsafe checksum.update(UnsafeRawBufferPointer(start: base + receivedBytes, count: count))
    receivedBytes += count
  }

  /// The checksum of all bytes received.
  var digest: Checksum { checksum.digest() }

  /// Gives the written room away, once; nil if bytes were dropped.
  func takeReservation() -> StoreReservation? {
    var taken: StoreReservation? = nil
    swap(&taken, &reservation)
    return taken
  }
}
