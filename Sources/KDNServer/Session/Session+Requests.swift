internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// Carries out one request that the machine let through; some are answered later.
  func execute(_ request: Request, _ id: UInt64, deadline: Instant, on loop: isolated Loop) {
    guard let namespace else { preconditionFailure("a request came through before HELLO") }
    let now = loop.now()
    do {
      switch request {
      case .get(let get): try self.get(get, id, namespace, deadline: deadline, on: loop)
      case .putBegin(let begin):
        try self.begin(begin, id, namespace, deadline: deadline, on: loop)
      case .putCommit(let commit):
        try self.commit(commit, id, namespace, deadline: deadline, on: loop)
      case .putAbort(let abort):
        try self.abort(abort)
        respond(.putAbort, id, now: now)
      case .purge(let purge): self.purge(purge, id, namespace, deadline: deadline, on: loop)
      case .pin, .unpin:
        respondOnceSettled(try answer(request, namespace), id, deadline: deadline, on: loop)
      default: respond(try answer(request, namespace), id, now: now)
      }
    } catch {
      refuse(id, request.operation, error, now: now)
    }
  }

  /// Answers what needs no transfer and no waiting.
  private func answer(_ request: Request, _ namespace: Namespace) throws(Refusal) -> Response {
    let pool = context.pool
    switch request {
    case .layout(let request):
      do {
        let id = try pool.register(request.layout, in: namespace)
        return .layout(LayoutResponse(layout: id, bytesPerToken: request.layout.bytesPerToken))
      } catch {
        throw Refusal(error)
      }
    case .match(let request): return .match(try match(request, namespace))
    case .exists(let request):
      var present = Bitmap(count: request.keys.count)
      for (index, key) in request.keys.enumerated() where pool.contains(key, in: namespace) {
        present[index] = true
      }
      return .exists(ExistsResponse(present: present))
    case .release(let request):
      guard pool.release(lease: request.leaseID, owner: owner) else {
        throw .unknown("leaseID", request.leaseID, "no such lease on this connection")
      }
      return .release
    case .touch(let request):
      return .touch(TouchResponse(touched: pool.touch(request.keys, in: namespace)))
    case .pin(let request):
      let pinned = pool.pin(
        request.keys, ttlMilliseconds: request.ttlMilliseconds, in: namespace)
      return .pin(PinResponse(changed: Bitmap(pinned)))
    case .unpin(let request):
      return .unpin(PinResponse(changed: Bitmap(pool.unpin(request.keys, in: namespace))))
    case .prefetch(let request):
      let answer = pool.prefetch(request.keys, in: namespace)
      return .prefetch(PrefetchResponse(present: answer.present, started: answer.started))
    case .stats:
      let json = context.report.json(
        pool: pool, counters: context.counters, namespace: namespace)
      return .stats(StatsResponse(json: json))
    case .hello, .get, .putBegin, .putData, .putCommit, .putAbort, .purge:
      preconditionFailure("\(request.operation) is not answered here")
    }
  }

  private func match(
    _ request: MatchRequest, _ namespace: Namespace
  ) throws(Refusal) -> MatchResponse {
    let query = MatchQuery(
      layout: request.layout, parts: request.parts, variant: request.variant,
      hashes: request.hashes, leaseMilliseconds: request.leaseMilliseconds.map(leaseTime))
    do {
      let answer = try context.pool.match(query, in: namespace, owner: owner)
      return MatchResponse(
        matchedChunks: answer.matchedChunks, miss: answer.missCause,
        tiers: MatchResponse.Tiers(
          ram: UInt32(answer.ramChunks), disk: UInt32(answer.diskChunks)),
        matchedBytes: answer.matchedBytes, estimateMicroseconds: estimate(answer),
        leaseID: answer.leaseNumber, leaseMilliseconds: UInt32(answer.leaseMilliseconds))
    } catch {
      throw Refusal(error)
    }
  }

  /// How long fetching what matched will take; 0 while that is unknown.
  ///
  /// Reading from disk and sending overlap, but only from one request to the next: the sum is what
  /// one request takes.
  private func estimate(_ answer: MatchAnswer) -> UInt64 {
    let sending = sendRate.microseconds(for: answer.matchedBytes)
    guard sending > 0, let reading = context.readMicroseconds(for: answer.diskBytes) else {
      return 0
    }
    return sending + reading
  }

  private func leaseTime(_ wanted: UInt32) -> UInt64 {
    let limits = context.limits
    return wanted == 0
      ? UInt64(limits.defaultLeaseMilliseconds)
      : min(UInt64(wanted), UInt64(limits.maxLeaseMilliseconds))
  }
}
