internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// PUT_BEGIN: reserves room; what goes wrong is told now and again at COMMIT.
  ///
  /// With durability `disk` the answer that the object is present comes once it is durable, since
  /// the client may leave it at that.
  func begin(
    _ begin: PutBeginRequest, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    let response = try admit(begin, call, now: loop.now())
    guard begin.durability == .disk, case .present = response else {
      return respond(.putBegin(response), call, now: loop.now())
    }
    makeDurable(begin.key, call, response: .putBegin(response), on: loop)
  }

  private func admit(
    _ begin: PutBeginRequest, _ call: Call, now: Instant
  ) throws(Refusal) -> PutBeginResponse {
    let id = call.id
    guard machine.openTransfer(id, bytes: begin.totalBytes) else {
      // Not even a place for its failure: data and COMMIT will find no such transfer.
      throw Refusal(
        .overCredit,
        FieldFault(
          "totalBytes", value: machine.openTransferBytes + begin.totalBytes,
          limit: limits.creditBytes, "open transfers would exceed the credit"))
    }
    let facts = StoreFacts(
      key: begin.key, parent: begin.parent, byteCount: begin.totalBytes,
      firstToken: Int(begin.firstToken), tokenCount: Int(begin.tokenCount),
      ttlMilliseconds: begin.ttlMilliseconds,
      recomputeMicroseconds: UInt64(begin.recomputeMicroseconds))
    do throws(Refusal) {
      try takeRequest(now: now)
      if begin.durability == .disk { try checkDurability(of: begin) }
      try takeBytes(begin.totalBytes, now: now)
      let answer = try reserve(facts, call.namespace)
      return open(answer, id, facts, isDurable: begin.durability == .disk, now)
    } catch {
      add(Transfer(facts: facts, failure: error, now: now), id)
      throw error
    }
  }

  /// PUT_COMMIT: publishes, or says what went wrong; the transfer is over in every case.
  ///
  /// With durability `disk` the answer comes later.
  func commit(
    _ commit: PutCommitRequest, _ call: Call, on loop: isolated Loop
  ) throws(Refusal) {
    guard let transfer = transfers[commit.transferID] else {
      throw .unknown("transferID", commit.transferID, "no such transfer on this connection")
    }
    guard transfer.readsInFlight == 0 else {
      return try deferCommit(commit, call, on: loop)
    }
    var call = call
    call.bytes = transfer.receivedBytes
    let answer: PublishAnswer
    do throws(Refusal) {
      answer = try end(transfer, commit.checksum, call.namespace)
    } catch {
      endTransfer(commit.transferID)
      throw error
    }
    let state: PutCommitResponse.State =
      if case .published = answer { .published } else { .present }
    let response = PutCommitResponse(state: state, checksum: commit.checksum)
    guard transfer.isDurable else {
      endTransfer(commit.transferID)
      return respond(.putCommit(response), call, now: loop.now())
    }
    forget(commit.transferID)
    makeDurable(
      transfer.facts.key, call, response: .putCommit(response), ofTransfer: commit.transferID,
      on: loop)
  }

  /// PUT_ABORT: the room goes back at once.
  func abort(_ abort: PutAbortRequest) throws(Refusal) {
    guard transfers[abort.transferID] != nil else {
      throw .unknown("transferID", abort.transferID, "no such transfer on this connection")
    }
    endTransfer(abort.transferID)
  }

  /// Gives transfers up that have received nothing for too long; COMMIT tells.
  func expireTransfers(_ now: Instant) {
    let patience = UInt64(limits.reservationTimeoutMilliseconds)
    for (id, transfer) in transfers
    where now > transfer.lastProgress.advanced(milliseconds: patience) {
      transfer.fail(
        Refusal(
          .deadline,
          FieldFault(
            "reservation", value: patience, limit: patience, "nothing arrived; given up")))
      if payloadTransfer !== transfer { endTransfer(id) }
    }
  }

  /// Forgets a transfer and gives its room and credit back.
  func endTransfer(_ id: UInt64) {
    guard let transfer = transfers[id], forget(id), !lingers(transfer, id) else { return }
    machine.closeTransfer(id)
  }

  /// Forgets a transfer and gives its room back; its credit stays taken.
  @discardableResult
  private func forget(_ id: UInt64) -> Bool {
    guard transfers.removeValue(forKey: id) != nil else { return false }
    context.counters.countTransfers(-1)
    return true
  }

  private func open(
    _ answer: consuming StoreAnswer, _ id: UInt64, _ facts: StoreFacts, isDurable: Bool,
    _ now: Instant
  ) -> PutBeginResponse {
    switch consume answer {
    case .reserved(let reservation):
      add(Transfer(facts: facts, isDurable: isDurable, reservation: reservation, now: now), id)
      return .reserved
    case .present(let checksum):
      // Its bytes are counted if they come all the same.
      member?.gate.refundBytes(facts.byteCount)
      add(Transfer(facts: facts, isDurable: isDurable, reservation: nil, now: now), id)
      return .present(checksum)
    }
  }

  /// Refuses what could never become durable before its bytes are sent.
  private func checkDurability(of begin: PutBeginRequest) throws(Refusal) {
    guard let limit = context.durableBytesMax else {
      throw Refusal(
        .unsupported, FieldFault("durability", value: 1, limit: 0, "there is no disk tier"))
    }
    guard begin.totalBytes <= limit else {
      throw Refusal(
        .tooLarge,
        FieldFault(
          "totalBytes", value: begin.totalBytes, limit: limit, "does not fit a disk segment"))
    }
  }

  /// Publishes or confirms what a transfer brought.
  private func end(
    _ transfer: Transfer, _ checksum: Checksum, _ namespace: Namespace
  ) throws(Refusal) -> PublishAnswer {
    switch transfer.finish(checksum) {
    case .failed(let refusal): throw refusal
    case .confirm: try confirm(transfer.facts, checksum, namespace)
    case .publish(let reservation):
      try publish(reservation, transfer.facts, checksum, namespace)
    }
  }

  private func add(_ transfer: Transfer, _ id: UInt64) {
    transfers[id] = transfer
    context.counters.countTransfers(1)
  }

  private func reserve(
    _ facts: StoreFacts, _ namespace: Namespace
  ) throws(Refusal) -> StoreAnswer {
    do {
      return try context.pool.reserve(facts, in: namespace)
    } catch {
      throw Refusal(error)
    }
  }

  private func publish(
    _ reservation: consuming StoreReservation, _ facts: StoreFacts, _ checksum: Checksum,
    _ namespace: Namespace
  ) throws(Refusal) -> PublishAnswer {
    do {
      return try context.pool.publish(reservation, facts, checksum: checksum, in: namespace)
    } catch {
      throw Refusal(error)
    }
  }

  private func confirm(
    _ facts: StoreFacts, _ checksum: Checksum, _ namespace: Namespace
  ) throws(Refusal) -> PublishAnswer {
    do {
      return try context.pool.confirm(facts, checksum: checksum, in: namespace)
    } catch .notFound {
      // It was there at BEGIN, so its bytes were dropped, and it has been evicted since.
      throw Refusal(
        .busy, FieldFault("object", value: 0, limit: 1, "is gone since BEGIN: store it again"),
        retryAfterMilliseconds: 1)
    } catch {
      throw Refusal(error)
    }
  }
}
