internal import KDNControl
internal import KDNWire
internal import Synchronization

/// Numbers that all loops count together; relaxed, since they order nothing.
final class ServerCounters: Sendable {
  private let connections = Atomic<Int>(0)
  private let accepted = Atomic<UInt64>(0)
  private let refused = Atomic<UInt64>(0)
  private let timedOut = Atomic<UInt64>(0)
  private let framingFaults = Atomic<UInt64>(0)
  private let unauthorised = Atomic<UInt64>(0)
  private let requests = Atomic<UInt64>(0)
  private let errors = Atomic<UInt64>(0)
  private let received = Atomic<UInt64>(0)
  private let sent = Atomic<UInt64>(0)
  private let transfers = Atomic<Int>(0)
  private let waiting = Atomic<Int>(0)

  /// Takes a place for one more connection, if there are fewer than `limit`.
  func admitConnection(limit: Int) -> Bool {
    let (_, count) = connections.add(1, ordering: .relaxed)
    guard count > limit else {
      accepted.add(1, ordering: .relaxed)
      return true
    }
    connections.subtract(1, ordering: .relaxed)
    refused.add(1, ordering: .relaxed)
    return false
  }

  func connectionEnded() { connections.subtract(1, ordering: .relaxed) }
  func countTimeout() { timedOut.add(1, ordering: .relaxed) }
  func countFramingFault() { framingFaults.add(1, ordering: .relaxed) }
  func countUnauthorised() { unauthorised.add(1, ordering: .relaxed) }
  func countRequest() { requests.add(1, ordering: .relaxed) }
  func countError() { errors.add(1, ordering: .relaxed) }
  func countReceived(_ bytes: UInt64) { received.add(bytes, ordering: .relaxed) }
  func countSent(_ bytes: UInt64) { sent.add(bytes, ordering: .relaxed) }
  func countTransfers(_ change: Int) { transfers.add(change, ordering: .relaxed) }
  func countWaiting(_ change: Int) { waiting.add(change, ordering: .relaxed) }

  /// Connections served now.
  var connectionCount: Int { connections.load(ordering: .relaxed) }

  /// All numbers at about one moment.
  var snapshot: ConnectionReport {
    ConnectionReport(
      open: connections.load(ordering: .relaxed),
      acceptedTotal: accepted.load(ordering: .relaxed),
      refusedTotal: refused.load(ordering: .relaxed),
      timedOutTotal: timedOut.load(ordering: .relaxed),
      framingFaultsTotal: framingFaults.load(ordering: .relaxed),
      unauthorisedTotal: unauthorised.load(ordering: .relaxed),
      requestsTotal: requests.load(ordering: .relaxed),
      errorsTotal: errors.load(ordering: .relaxed),
      receivedBytesTotal: received.load(ordering: .relaxed),
      sentBytesTotal: sent.load(ordering: .relaxed),
      openTransfers: transfers.load(ordering: .relaxed),
      waitingGets: waiting.load(ordering: .relaxed))
  }
}
