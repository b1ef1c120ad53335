internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport

/// What one connection shares memory for: leases of extents in place, and its window for puts.
///
/// All that it takes is charged to the memory budget, and goes back when it ends.
final class MemoryShare {
  /// Most slabs that one connection may map in its life.
  private static let slabsMax = 65_536

  private let sharing: SharedMemory
  private let pool: Pool
  /// What reports tell of it.
  private let use: MemoryShareUse
  private var leases = InPlaceLeases()
  /// Slabs that the client may have mapped, by number; to the daemon it has until the end.
  private var slabs: [UInt64: MappedSlab] = [:]
  /// What the client writes; nil before it was opened.
  private(set) var window: SharedWindow?
  private var chargedBytes = 0
  private var isKnown = false

  init(_ sharing: SharedMemory, pool: Pool, use: MemoryShareUse) {
    self.sharing = sharing
    self.pool = pool
    self.use = use
  }

  /// When the next lease ends.
  var nextEnd: Instant { leases.nextEnd }

  /// Bytes that one more lease may lend within `creditBytes`.
  func room(within creditBytes: Int) -> Int { leases.room(within: creditBytes) }

  // MARK: Leases

  /// Holds a lease until `ends`; nil if there is no memory for its record.
  func hold(_ lease: InPlaceLease, until ends: Instant) -> UInt64? {
    let bytes = InPlaceLeases.recordBytes(extents: lease.extentCount)
    guard pool.chargeBuffers(bytes) else { return nil }
    chargedBytes += bytes
    let number = leases.add(lease, until: ends)
    noteLeases()
    return number
  }

  /// Ends a lease before its time; false if there is none of that number.
  func release(_ number: UInt64) -> Bool {
    guard leases.release(number) else { return false }
    noteLeases()
    return true
  }

  /// Ends the leases whose time is over.
  func expire(now: Instant) {
    guard leases.nextEnd <= now else { return }
    leases.expire(now: now)
    noteLeases()
  }

  /// Opens the slab of this number for the client.
  ///
  /// - Returns: its length and a descriptor that the caller closes.
  /// - Throws: `not_found` if nothing of it is lent now, `busy` if clients keep too much memory
  ///   that is no longer the daemon's, or the kernel gives no descriptor.
  func openSlab(_ id: UInt64) throws(Refusal) -> (byteCount: Int, descriptor: Int32) {
    guard let slab = leases.slab(id) else {
      throw .unknown("slabID", id, "no lease in place on this connection names it")
    }
    let stranded = sharing.strandedBytes
    guard stranded <= sharing.strandedBytesMax, slabs.count < Self.slabsMax else {
      throw Refusal(
        .busy,
        FieldFault(
          "slabID", value: stranded, limit: sharing.strandedBytesMax,
          "clients keep too much memory mapped"),
        retryAfterMilliseconds: 1000)
    }
    guard let descriptor = slab.openForReading() else { throw .noMemory("descriptors") }
    if slabs[id] == nil { slabs[id] = MappedSlab(share: slab.share(), slab: slab) }
    return (slab.byteCount, descriptor)
  }

  /// Ends everything.
  func end() {
    leases.removeAll()
    slabs.removeAll()
    if let window { sharing.returned(window.byteCount) }
    window = nil
    pool.refundBuffers(chargedBytes)
    chargedBytes = 0
    if isKnown { sharing.forget(use) }
    isKnown = false
  }

  private func noteLeases() {
    let unused = chargedBytes - leases.recordBytes - windowBytes
    if unused > 0 {
      pool.refundBuffers(unused)
      chargedBytes -= unused
    }
    makeKnown()
    use.setLeases(leases.count, byteCount: leases.byteCount)
  }

  private func makeKnown() {
    guard !isKnown else { return }
    isKnown = true
    sharing.remember(use)
  }

  /// Whether clients keep too much memory of slabs that are gone, and this one is among them: its
  /// end would give it back.
  var isInTheWay: Bool {
    sharing.strandedBytes > sharing.strandedBytesMax && leases.count == 0
      && slabs.values.contains { $0.slab == nil }
  }

  private struct MappedSlab {
    let share: SlabShare
    /// nil once the slab is gone, and only clients hold its memory.
    weak let slab: Slab?
  }

  // MARK: The window

  /// Length of the window; 0 before it was opened.
  var windowBytes: Int { window?.byteCount ?? 0 }

  /// Opens the window, of `byteCount` bytes or as many as `values` and the others leave.
  ///
  /// - Returns: its length and a descriptor that the caller closes; nil if there is no room now.
  func openWindow(
    _ byteCount: Int, _ values: LiveValues
  ) -> (byteCount: Int, descriptor: Int32)? {
    precondition(window == nil, "a connection has one window")
    guard let granted = sharing.grant(byteCount, values) else { return nil }
    guard pool.chargeBuffers(granted) else {
      sharing.returned(granted)
      return nil
    }
    guard let made = try? SharedWindow(byteCount: granted), let descriptor = made.openForWriting()
    else {
      pool.refundBuffers(granted)
      sharing.returned(granted)
      return nil
    }
    chargedBytes += granted
    window = made
    makeKnown()
    use.setWindow(byteCount: granted)
    return (granted, descriptor)
  }
}
