internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// Requests that are answered when something on another thread is over.
extension Session {
  /// PURGE: answered once no crash can bring back what it drops.
  func purge(_ request: PurgeRequest, _ call: Call, on loop: isolated Loop) {
    let id = call.id
    let serial = answerLater(call, on: loop)
    let signal = LoopSignal(loop: loop, session: self)
    context.pool.purge(PurgeScope(request.scope), in: call.namespace) { result in
      signal.raise { session, loop in
        let answer = result.map {
          Response.purge(PurgeResponse(objects: UInt64($0.objects), bytes: UInt64($0.bytes)))
        }
        session.finish(id, serial, answer, now: loop.now())
      }
    }
  }

  /// Answers with `response` once an object survives a loss of power; until then the credit of the
  /// transfer that is over stays taken.
  func makeDurable(
    _ key: ObjectKey, _ call: Call, response: Response, ofTransfer transferID: UInt64? = nil,
    on loop: isolated Loop
  ) {
    let id = call.id
    let serial = answerLater(call, transferID: transferID, on: loop)
    let signal = LoopSignal(loop: loop, session: self)
    context.pool.makeDurable(key, in: call.namespace) { refusal in
      signal.raise { session, loop in
        let answer: Result<Response, PoolRefusal> =
          refusal.map { .failure($0) } ?? .success(response)
        session.finish(id, serial, answer, now: loop.now())
      }
    }
  }

  /// PIN and UNPIN: answered once a crash cannot undo them, or at once if no disk works: then they
  /// concern RAM alone.
  func respondOnceSettled(_ response: Response, _ call: Call, on loop: isolated Loop) {
    let id = call.id
    let serial = answerLater(call, on: loop)
    let signal = LoopSignal(loop: loop, session: self)
    context.pool.settle { _ in
      signal.raise { session, loop in
        session.finish(id, serial, Result<Response, PoolRefusal>.success(response), now: loop.now())
      }
    }
  }

  /// Tells those whose deadline has passed; what they asked for goes on.
  func expireReplies(_ now: Instant) {
    for (id, reply) in pendingReplies where reply.deadline <= now {
      let fault = FieldFault(
        "deadlineMillis", value: 0, limit: 0, "it goes on, but is not known to be done")
      finish(id, reply.serial, .failure(Refusal(.deadline, fault)), now: now)
    }
  }

  /// Keeps a request until `finish` answers it.
  func answerLater(
    _ call: Call, transferID: UInt64? = nil, on loop: isolated Loop
  ) -> UInt64 {
    lastSerial += 1
    pendingReplies[call.id] = PendingReply(
      serial: lastSerial, call, since: loop.now(), transferID: transferID)
    loop.wake(at: call.deadline)
    return lastSerial
  }

  private func finish(
    _ id: UInt64, _ serial: UInt64, _ answer: Result<Response, PoolRefusal>, now: Instant
  ) {
    finish(id, serial, answer.mapError { Refusal($0) }, now: now)
  }

  /// Answers a request that was kept, unless it has been answered since.
  func finish(
    _ id: UInt64, _ serial: UInt64, _ answer: Result<Response, Refusal>, now: Instant
  ) {
    guard let reply = pendingReplies[id], reply.serial == serial else { return }
    pendingReplies[id] = nil
    if let transfer = reply.transferID { machine.closeTransfer(transfer) }
    let call = reply.ended(now: now)
    switch answer {
    case .success(let response): respond(response, call, now: now)
    case .failure(let refusal): refuse(call, refusal, now: now)
    }
  }
}

extension PurgeScope {
  /// The scope of a request.
  fileprivate init(_ scope: PurgeRequest.Scope) {
    self =
      switch scope {
      case .keys(let keys): .keys(keys)
      case .prefixes(let hashes): .prefixes(hashes)
      case .layouts(let layouts): .layouts(layouts)
      case .namespace: .namespace
      }
  }
}
