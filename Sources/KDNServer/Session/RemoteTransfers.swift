internal import KDNCore
internal import KDNWire

/// What of a connection's PUTs waits for READs to be over.
struct RemoteTransfers {
  /// A COMMIT that is carried out once all bytes have come.
  struct Commit {
    let request: PutCommitRequest
    let call: Call
  }

  /// COMMITs that wait, by transfer.
  private(set) var commits: [UInt64: Commit] = [:]
  /// COMMITs whose transfers were ended meanwhile, with what is to be answered.
  private var orphans: [(commit: Commit, refusal: Refusal)] = []
  /// Transfers that are over for the client, while READs still write into their room.
  private(set) var lingering: [UInt64: Transfer] = [:]

  /// When the first COMMIT that waits is to be answered; `never` if none waits.
  var nextDeadline: Instant { commits.values.map(\.call.deadline).min() ?? .never }

  /// Has a COMMIT wait; false if one waits for that transfer already.
  mutating func add(_ commit: Commit) -> Bool {
    guard commits[commit.request.transferID] == nil else { return false }
    commits[commit.request.transferID] = commit
    return true
  }

  /// Takes the COMMIT that waits for a transfer, if one does.
  mutating func takeCommit(of transferID: UInt64) -> Commit? {
    commits.removeValue(forKey: transferID)
  }

  /// Lets a COMMIT be refused at the next tick.
  mutating func orphan(_ commit: Commit, _ refusal: Refusal) {
    orphans.append((commit, refusal))
  }

  /// Takes the COMMITs that are to be refused.
  mutating func takeOrphans() -> [(commit: Commit, refusal: Refusal)] {
    defer { orphans.removeAll() }
    return orphans
  }

  /// COMMITs that should have been answered by `now`, by transfer.
  func late(now: Instant) -> [UInt64] {
    commits.values.filter { $0.call.deadline <= now }.map(\.request.transferID)
  }

  /// Keeps a transfer until the READs into its room are over.
  mutating func linger(_ transfer: Transfer, _ id: UInt64) { lingering[id] = transfer }

  /// Forgets a transfer that lingered; false if there is no such one.
  mutating func stopLingering(_ id: UInt64) -> Bool { lingering.removeValue(forKey: id) != nil }

  /// Forgets all of it, when no READ can be made any more.
  mutating func removeAll() {
    commits.removeAll()
    orphans.removeAll()
    lingering.removeAll()
  }
}
