internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// PUT_BEGIN: reserves room; what goes wrong is told now and again at COMMIT.
  func begin(
    _ begin: PutBeginRequest, _ id: UInt64, _ namespace: Namespace, now: Instant
  ) throws(Refusal) -> PutBeginResponse {
    guard machine.openTransfer(id, bytes: begin.totalBytes) else {
      // Not even a place for its failure: data and COMMIT will find no such transfer.
      throw Refusal(
        .overCredit,
        FieldFault(
          "totalBytes", value: machine.openTransferBytes + begin.totalBytes,
          limit: context.limits.creditBytes, "open transfers would exceed the credit"))
    }
    let facts = StoreFacts(
      key: begin.key, parent: begin.parent, byteCount: begin.totalBytes,
      firstToken: Int(begin.firstToken), tokenCount: Int(begin.tokenCount),
      ttlMilliseconds: begin.ttlMilliseconds,
      recomputeMicroseconds: UInt64(begin.recomputeMicroseconds))
    do throws(Refusal) {
      guard begin.durability == .ram else {
        throw Refusal(
          .unsupported, FieldFault("durability", value: 1, limit: 0, "there is no disk tier"))
      }
      let answer = try reserve(facts, namespace)
      return open(answer, id, facts, now)
    } catch {
      add(Transfer(facts: facts, failure: error, now: now), id)
      throw error
    }
  }

  /// PUT_COMMIT: publishes, or says what went wrong; the transfer is over in every case.
  func commit(
    _ commit: PutCommitRequest, _ namespace: Namespace
  ) throws(Refusal) -> PutCommitResponse {
    guard let transfer = transfers[commit.transferID] else {
      throw .unknown("transferID", commit.transferID, "no such transfer on this connection")
    }
    defer { endTransfer(commit.transferID) }
    let answer: PublishAnswer
    switch transfer.finish(commit.checksum) {
    case .failed(let refusal): throw refusal
    case .confirm: answer = try confirm(transfer.facts, commit.checksum, namespace)
    case .publish(let reservation):
      answer = try publish(reservation, transfer.facts, commit.checksum, namespace)
    }
    switch answer {
    case .published:
      return PutCommitResponse(state: .published, checksum: commit.checksum)
    case .present: return PutCommitResponse(state: .present, checksum: commit.checksum)
    }
  }

  /// PUT_ABORT: the room goes back at once.
  func abort(_ abort: PutAbortRequest) throws(Refusal) {
    guard transfers[abort.transferID] != nil else {
      throw .unknown("transferID", abort.transferID, "no such transfer on this connection")
    }
    endTransfer(abort.transferID)
  }

  /// Forgets a transfer and gives its room and credit back.
  func endTransfer(_ id: UInt64) {
    guard transfers.removeValue(forKey: id) != nil else { return }
    machine.closeTransfer(id)
    context.counters.countTransfers(-1)
  }

  private func open(
    _ answer: consuming StoreAnswer, _ id: UInt64, _ facts: StoreFacts, _ now: Instant
  ) -> PutBeginResponse {
    switch consume answer {
    case .reserved(let reservation):
      add(Transfer(facts: facts, reservation: reservation, now: now), id)
      return .reserved
    case .present(let object):
      add(Transfer(facts: facts, reservation: nil, now: now), id)
      return .present(object.checksum)
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
