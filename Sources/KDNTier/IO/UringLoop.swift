internal import CPlatform
internal import DequeModule
internal import Glibc
internal import KDNCore

/// How many works of each kind are in the ring at once; more wait, each kind for itself.
package struct UringPlaces: Sendable {
  /// Reads.
  package var reads: Int
  /// Writes.
  package var writes: Int
  /// Synchronisations.
  package var synchronisations: Int

  /// Sets the limits.
  package init(reads: Int = 32, writes: Int = 32, synchronisations: Int = 8) {
    self.reads = reads
    self.writes = writes
    self.synchronisations = synchronisations
  }

  /// All of them.
  var total: Int { reads + writes + synchronisations }
}

/// What the ring's thread does: it alone touches the ring.
///
/// Works are not put into the ring by the thread that submits them: the kernel cancels what a
/// thread began when that thread ends, and whoever submits may be a thread of a pool.
final class UringLoop {
  private static let wakeToken = UInt64.max

  private let ring: UringRing
  private let inbox: UringInbox
  private var reads: Lane
  private var writes: Lane
  private var synchronisations: Lane
  private var underWay: [UringTransfer?]
  private var free: [Int]

  /// Takes its place on the ring's thread.
  init(_ ring: UringRing, _ inbox: UringInbox, places: UringPlaces) {
    self.ring = ring
    self.inbox = inbox
    reads = Lane(placesFree: places.reads)
    writes = Lane(placesFree: places.writes)
    synchronisations = Lane(placesFree: places.synchronisations)
    underWay = Array(repeating: nil, count: places.total)
    free = Array((0..<places.total).reversed())
  }

  /// Works until the inbox has ended and everything is done.
  func run() {
    ring.prepareWatch(of: inbox.descriptor, token: Self.wakeToken)
    while true {
      let (arrived, isEnding) = inbox.take()
      for transfer in arrived { queue(transfer) }
      startWaiting()
      guard let (token, result) = ring.next() else {
        if isEnding, free.count == underWay.count { return }
        ring.submitAndWait()
        continue
      }
      // Before the completion, which may take its time: the device need not wait for it.
      ring.submit()
      if token == Self.wakeToken {
        inbox.quiet()
        ring.prepareWatch(of: inbox.descriptor, token: Self.wakeToken)
      } else {
        ended(Int(token), result)
      }
    }
  }

  private func queue(_ transfer: UringTransfer) {
    if let error = transfer.refusal() { return transfer.complete(.failure(error)) }
    switch transfer.action {
    case .read: reads.waiting.append(transfer)
    case .write: writes.waiting.append(transfer)
    case .synchronise: synchronisations.waiting.append(transfer)
    }
  }

  private func startWaiting() {
    while let transfer = reads.next() ?? writes.next() ?? synchronisations.next() {
      guard let slot = free.popLast() else {
        preconditionFailure("the ring has as many places as all kinds together")
      }
      underWay[slot] = transfer
      ring.prepare(transfer, token: UInt64(slot))
    }
  }

  private func ended(_ slot: Int, _ result: Int32) {
    guard let transfer = underWay[slot] else {
      preconditionFailure("a result for a work that is not under way")
    }
    switch transfer.take(result) {
    case .again:
      ring.prepare(transfer, token: UInt64(slot))
    case .done(let outcome):
      underWay[slot] = nil
      free.append(slot)
      switch transfer.action {
      case .read: reads.placesFree += 1
      case .write: writes.placesFree += 1
      case .synchronise: synchronisations.placesFree += 1
      }
      transfer.complete(outcome)
    }
  }
}

/// Works of one kind that wait for a place in the ring.
private struct Lane {
  var waiting: Deque<UringTransfer> = []
  var placesFree: Int

  /// Takes a place for the work that waited longest; nil if there is no place or no work.
  mutating func next() -> UringTransfer? {
    guard placesFree > 0, let transfer = waiting.popFirst() else { return nil }
    placesFree -= 1
    return transfer
  }
}

/// Works on their way to the ring's thread.
final class UringInbox: Sendable {
  private struct State {
    var arrived: [UringTransfer] = []
    var isEnding = false
  }

  private let state = Guarded(State())
  private let wake: OpenDescriptor

  /// Opens the inbox.
  ///
  /// - Throws: if the kernel gives no descriptor.
  init() throws(DiskError) {
    wake = try OpenDescriptor(kdn_eventfd(), "eventfd", "")
  }

  /// Can be read when something has come.
  var descriptor: Int32 { wake.number }

  /// Hands a work over; traps after `end`.
  func put(_ transfer: UringTransfer) {
    let (isTaken, isFirst) = state.withLock { state in
      guard !state.isEnding else { return (false, false) }
      state.arrived.append(transfer)
      return (true, state.arrived.count == 1)
    }
    precondition(isTaken, "work for an engine that was shut down")
    if isFirst { ring() }
  }

  /// Lets the thread go once all is done; false if that was said before.
  func end() -> Bool {
    let isFirst = state.withLock { state in
      defer { state.isEnding = true }
      return !state.isEnding
    }
    if isFirst { ring() }
    return isFirst
  }

  /// All that came since the last time, and whether nothing more will.
  func take() -> (arrived: [UringTransfer], isEnding: Bool) {
    state.withLock { state in
      defer { state.arrived = [] }
      return (state.arrived, state.isEnding)
    }
  }

  /// Makes the descriptor unreadable until something comes.
  func quiet() {
    var count: UInt64 = 0
    _ = unsafe read(wake.number, &count, MemoryLayout<UInt64>.size)
  }

  private func ring() {
    var one: UInt64 = 1
    _ = unsafe write(wake.number, &one, MemoryLayout<UInt64>.size)
  }
}
