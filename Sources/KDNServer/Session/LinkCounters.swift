internal import KDNControl
internal import KDNCore
internal import KDNTransport
internal import Synchronization

/// What went over the links of each kind.
final class LinkCounters: Sendable {
  private let kinds: [LinkKind: LinkCounter]
  private let endpoints = Guarded<[LinkKind: [String]]>([:])

  init() {
    kinds = Dictionary(uniqueKeysWithValues: LinkKind.allCases.map { ($0, LinkCounter()) })
  }

  /// The numbers of one kind.
  subscript(kind: LinkKind) -> LinkCounter {
    guard let counter = kinds[kind] else { preconditionFailure("no counter for \(kind)") }
    return counter
  }

  /// Tells where the daemon listens; only kinds that are served are reported.
  func setEndpoints(_ served: [(LinkKind, Endpoint)]) {
    let texts = Dictionary(grouping: served, by: \.0).mapValues { $0.map { "\($0.1)" } }
    endpoints.withLock { $0 = texts }
  }

  /// One report for each kind that is served.
  var reports: [LinkReport] {
    let endpoints = endpoints.withLock { $0 }
    return LinkKind.allCases.compactMap { kind in
      endpoints[kind].map { self[kind].report(kind, endpoints: $0) }
    }
  }
}

/// What went over the links of one kind; relaxed, since these numbers order nothing.
final class LinkCounter: Sendable {
  private let open = Atomic<Int>(0)
  private let accepted = Atomic<UInt64>(0)
  private let received = Atomic<UInt64>(0)
  private let sent = Atomic<UInt64>(0)
  private let copied = Atomic<UInt64>(0)
  private let hashed = Atomic<UInt64>(0)
  private let handshakeFailures = Atomic<UInt64>(0)

  func opened() {
    open.add(1, ordering: .relaxed)
    accepted.add(1, ordering: .relaxed)
  }

  func closed() { open.subtract(1, ordering: .relaxed) }
  func count(received more: UInt64) { received.add(more, ordering: .relaxed) }
  func count(sent more: UInt64) { sent.add(more, ordering: .relaxed) }
  /// Counts payload that the processor moved from one place to another.
  func count(copied more: Int) {
    if more > 0 { copied.add(UInt64(more), ordering: .relaxed) }
  }
  /// Counts payload of which a checksum was taken.
  func count(hashed more: Int) {
    if more > 0 { hashed.add(UInt64(more), ordering: .relaxed) }
  }
  func countHandshakeFailure() { handshakeFailures.add(1, ordering: .relaxed) }

  fileprivate func report(_ kind: LinkKind, endpoints: [String]) -> LinkReport {
    LinkReport(
      kind: kind.rawValue, endpoints: endpoints, open: open.load(ordering: .relaxed),
      acceptedTotal: accepted.load(ordering: .relaxed),
      receivedBytesTotal: received.load(ordering: .relaxed),
      sentBytesTotal: sent.load(ordering: .relaxed),
      copiedBytesTotal: copied.load(ordering: .relaxed),
      hashedBytesTotal: hashed.load(ordering: .relaxed),
      handshakeFailuresTotal: handshakeFailures.load(ordering: .relaxed))
  }
}
