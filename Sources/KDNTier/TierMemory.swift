package import KDNMemory

/// Bytes that a tier writes from; they stay in place until this is dropped.
@safe package final class TierBytes: Sendable {
  private let lease: Lease

  /// Keeps `lease` for as long as the tier needs the bytes.
  package init(_ lease: consuming Lease) { self.lease = lease }

  /// Length in bytes.
  package var byteCount: Int { lease.byteCount }
  /// First byte; readable as long as this lives.
  @unsafe package var base: UnsafeRawPointer { unsafe lease.base }
  /// Whether base is page-aligned and the rest of the last page belongs to the same extent, so
  /// that whole pages may be written in place.
  package var ownsWholePages: Bool { lease.block.ownsWholePages }
}

/// Room that a tier reads into.
// Safe because: the tier writes into it before it completes, and `take` is called after.
@safe package final class TierRoom: @unchecked Sendable {
  private var reservation: Reservation?
  /// Length in bytes.
  package let byteCount: Int
  /// First byte; writable until `take`.
  @unsafe package let base: UnsafeMutableRawPointer
  /// Whether base is page-aligned and the rest of the last page belongs to the same extent, so
  /// that whole pages may be read in place.
  package let ownsWholePages: Bool

  /// Lends out a reservation.
  package init(_ reservation: consuming Reservation) {
    byteCount = reservation.byteCount
    unsafe base = reservation.base
    ownsWholePages = reservation.ownsWholePages
    self.reservation = consume reservation
  }

  /// Gives the reservation back, once; nil the second time.
  package func take() -> Reservation? {
    var taken: Reservation? = nil
    swap(&taken, &reservation)
    return taken
  }
}
