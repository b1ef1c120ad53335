internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// Carries out one request that the machine let through; some are answered later.
  func execute(
    _ request: Request, _ id: UInt64, deadline: Instant, arrival: Instant, on loop: isolated Loop
  ) {
    guard let member else { preconditionFailure("a request came through before HELLO") }
    let call = Call(
      request, id: id, namespace: member.namespace, deadline: deadline, arrival: arrival)
    member.gate.counters.countRequest()
    do {
      try checkRate(of: request, now: arrival)
      switch request {
      case .get(let get): try self.get(get, call, on: loop)
      case .putBegin(let begin): try self.begin(begin, call, on: loop)
      case .putCommit(let commit): try self.commit(commit, call, on: loop)
      case .putAbort(let abort):
        try self.abort(abort)
        respond(.putAbort, call, now: loop.now())
      case .purge(let purge): self.purge(purge, call, on: loop)
      case .mapSlab(let request): try mapSlab(request, call, now: loop.now())
      case .openWindow(let request): try openWindow(request, call, now: loop.now())
      case .linkTicket:
        respond(.linkTicket(try ticket(member, now: arrival)), call, now: loop.now())
      case .codecProfile(let request): try profile(request, call, on: loop)
      case .work(let request): try work(request, call, on: loop)
      case .document(let request): try document(request, call, on: loop)
      case .edit(let request): try edit(request, call, on: loop)
      case .compose(let request): try compose(request, call, on: loop)
      case .pin, .unpin:
        respondOnceSettled(try answer(request, member.namespace), call, on: loop)
      default: respond(try answer(request, member.namespace), call, now: loop.now())
      }
    } catch {
      refuse(call, error, now: loop.now())
    }
  }

  // MARK: Rates

  /// Lets a request through if the tenant may ask so often; what gives something back always may.
  private func checkRate(of request: Request, now: Instant) throws(Refusal) {
    switch request {
    case .putCommit, .putAbort, .release, .work(.finish), .work(.fail):
      member?.gate.chargeRequest(now: now)
    // It asks when its transfer is open, so that COMMIT tells what went wrong.
    case .putBegin: break
    default: try takeRequest(now: now)
    }
  }

  /// Counts a request against the tenant's rate.
  func takeRequest(now: Instant) throws(Refusal) {
    guard let excess = member?.gate.takeRequest(now: now) else { return }
    throw Refusal(excess, "requestsPerSecond")
  }

  /// Counts payload against the tenant's rate; 0 bytes pass unless some are owed.
  func takeBytes(_ count: Int, now: Instant) throws(Refusal) {
    guard let excess = member?.gate.takeBytes(count, now: now) else { return }
    throw Refusal(excess, "bytesPerSecond")
  }

  // MARK: Answers at once

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
      guard release(request.leaseID) else {
        throw .unknown("leaseID", request.leaseID, "no such lease on this connection")
      }
      return .release
    case .touch(let request):
      return .touch(TouchResponse(touched: pool.touch(request.keys, in: namespace)))
    case .pin(let request):
      do {
        let pinned = try pool.pin(
          request.keys, ttlMilliseconds: request.ttlMilliseconds, in: namespace)
        return .pin(PinResponse(changed: Bitmap(pinned)))
      } catch {
        throw Refusal(error)
      }
    case .unpin(let request):
      return .unpin(PinResponse(changed: Bitmap(pool.unpin(request.keys, in: namespace))))
    case .prefetch(let request):
      let answer = pool.prefetch(request.keys, in: namespace)
      return .prefetch(PrefetchResponse(present: answer.present, started: answer.started))
    case .stats:
      let json = context.report.json(context, namespace: namespace)
      return .stats(StatsResponse(json: json))
    case .hello, .get, .putBegin, .putData, .putCommit, .putAbort, .purge, .mapSlab, .openWindow,
      .linkTicket, .codecProfile, .work, .document, .edit, .compose:
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

  /// Leases in place have numbers of their own.
  private func release(_ lease: UInt64) -> Bool {
    lease & InPlaceAnswer.leaseBit == 0
      ? context.pool.release(lease: lease, owner: owner) : share?.release(lease) ?? false
  }

  /// How long a lease lasts, in milliseconds; 0 asks for the usual time.
  func leaseTime(_ wanted: UInt32) -> UInt64 {
    wanted == 0
      ? UInt64(limits.defaultLeaseMilliseconds)
      : min(UInt64(wanted), UInt64(limits.maxLeaseMilliseconds))
  }
}
