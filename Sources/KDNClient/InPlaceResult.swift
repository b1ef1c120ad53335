package import KDNCore
internal import KDNMemory
internal import Synchronization

/// Whether a connection is open, for those who hold what ends with it.
final class ConnectionLife: Sendable {
  private let isOver = Atomic(false)

  /// Whether the connection has ended.
  var hasEnded: Bool { isOver.load(ordering: .acquiring) }

  /// The connection ends; called any number of times.
  func end() { isOver.store(true, ordering: .releasing) }
}

/// Objects that are read where the server keeps them, under a lease.
///
/// The server neither moves nor reuses the bytes while the lease is held. What was read afterwards
/// may be anything: whoever uses the bytes asks `Connection.holds` when done. The mappings last as
/// long as this object.
// Safe because: it lends only places inside views that it keeps.
@safe package final class InPlaceResult: Sendable {
  /// The bytes of one item.
  struct Place: Sendable {
    let view: SharedView
    let extents: [Range<Int>]
  }

  /// The lease; 0 if there was no hit.
  package let leaseID: UInt64
  /// When the lease ends by itself, on `SystemClock`, counted from before it was asked for.
  package let expiresAt: Instant
  /// What became of each item; a hit's bytes are in its views.
  package let results: [GetResult]
  private let places: [Place?]
  private let life: ConnectionLife
  private let isReleased = Atomic(false)

  init(
    leaseID: UInt64, expiresAt: Instant, results: [GetResult], places: [Place?],
    life: ConnectionLife
  ) {
    precondition(results.count == places.count, "each item has a result")
    self.leaseID = leaseID
    self.expiresAt = expiresAt
    self.results = results
    self.places = places
    self.life = life
  }

  /// The bytes of the item at `index`, in order; none unless it is a hit.
  ///
  /// They can be read as long
  /// as this object lives, and are the object's as long as the lease is held.
  @unsafe package func views(_ index: Int) -> [UnsafeRawBufferPointer] {
    guard let place = places[index], results[index].bytes > 0 else { return unsafe [] }
    return unsafe place.extents.map { extent in
      unsafe UnsafeRawBufferPointer(rebasing: place.view.bytes[extent])
    }
  }

  /// Whether the lease is held as far as this side knows: not released, not over at `now`, and the
  /// connection not ended.
  ///
  /// `Connection.holds` also asks whether the server has ended it.
  package func isValid(at now: Instant) -> Bool {
    leaseID != 0 && !life.hasEnded && !isReleased.load(ordering: .acquiring) && now < expiresAt
  }

  /// Whether this result belongs to the connection with that life.
  func belongs(to life: ConnectionLife) -> Bool { self.life === life }

  /// Marks the lease as given back; false if it was before, or there is none.
  func markReleased() -> Bool {
    leaseID != 0 && !isReleased.exchange(true, ordering: .acquiringAndReleasing)
  }
}
