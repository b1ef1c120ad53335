internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// PUT with the client's memory as the place: the server reads, COMMIT waits for it.
extension Session {
  /// PUT_DATA: has the bytes read into the transfer's room; what is wrong shows at COMMIT.
  func readRemotely(_ data: PutDataRequest, _ region: RemoteRegion, on loop: isolated Loop) {
    let id = data.transferID
    guard let transfer = transfers[id] else { return }
    let room = unsafe transfer.beginRead(
      offset: data.offset, length: region.byteCount, now: loop.now())
    guard let (bytes, slab) = unsafe room else { return }
    let link = remoteLink
    guard link.canTransfer(slab) else {
      transfer.fail(.unregistered)
      return transfer.readCancelled(region.byteCount)
    }
    let signal = LoopSignal(loop: loop, session: self)
    unsafe link.read(
      into: bytes, of: slab, fromAddress: region.address, key: region.key, keeping: transfer
    ) { count in
      signal.raise { session, loop in session.readArrived(count, id, on: loop) }
    }
  }

  /// COMMIT of a transfer whose bytes are still being read: is carried out when they are there.
  func deferCommit(
    _ commit: PutCommitRequest, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    guard remote.add(RemoteTransfers.Commit(request: commit, call: call)) else {
      throw Refusal(
        .outOfSequence,
        FieldFault(
          "transferID", value: commit.transferID, limit: 0, "its COMMIT is under way already"))
    }
    loop.wake(at: call.deadline)
  }

  /// Tells those whose COMMIT has waited for too long, and those whose transfer was ended while it
  /// waited: the transfer is over then.
  func expireCommits(_ now: Instant, on loop: isolated Loop) {
    for id in remote.late(now: now) {
      guard let commit = remote.takeCommit(of: id) else { continue }
      let left = transfers[id]?.readsInFlight ?? 0
      let refusal = Refusal(
        .deadline, FieldFault("bytesInFlight", value: left, limit: 0, "not read in time; given up"))
      transfers[id]?.fail(refusal)
      endTransfer(id)
      refuse(commit.call, refusal, now: now)
    }
    for (commit, refusal) in remote.takeOrphans() { refuse(commit.call, refusal, now: now) }
  }

  /// Keeps a transfer that is over, and its credit, while READs write into its room; false if none
  /// does.
  func lingers(_ transfer: Transfer, _ id: UInt64) -> Bool {
    // Nobody wants the rest; what is not under way need not be read.
    transfer.fail(.unknown("transferID", id, "was ended while COMMIT waited for its bytes"))
    if let commit = remote.takeCommit(of: id), let refusal = transfer.failure {
      remote.orphan(commit, refusal)
    }
    guard transfer.readsInFlight > 0 else { return false }
    transfer.readCancelled(remoteLink.cancelReads(for: transfer))
    guard transfer.readsInFlight > 0 else { return false }
    remote.linger(transfer, id)
    return true
  }

  /// The next bytes of a transfer are there.
  private func readArrived(_ count: Int, _ id: UInt64, on loop: isolated Loop) {
    let now = loop.now()
    if let transfer = remote.lingering[id] {
      _ = transfer.readArrived(count, now: now)
      guard transfer.readsInFlight == 0, remote.stopLingering(id) else { return }
      machine.closeTransfer(id)
      return
    }
    guard let transfer = transfers[id] else { return }
    linkCounter.count(hashed: transfer.readArrived(count, now: now))
    guard transfer.readsInFlight == 0, let commit = remote.takeCommit(of: id) else { return }
    do {
      try self.commit(commit.request, commit.call, on: loop)
    } catch {
      refuse(commit.call, error, now: now)
    }
  }
}
