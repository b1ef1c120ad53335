internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// GET: answers now, or waits: for what nobody has stored yet, if asked to, then for the disk.
  func get(
    _ get: GetRequest, _ id: UInt64, _ namespace: Namespace, deadline: Instant,
    on loop: isolated Loop
  ) throws(Refusal) {
    let tickets = get.flags.contains(.wait) ? try wait(for: get, id, namespace, loop) : []
    guard !tickets.isEmpty else {
      return try read(get, id, namespace, deadline: deadline, on: loop)
    }
    // What is on disk comes to RAM meanwhile; it is held only once all is there.
    _ = context.pool.prefetch(get.items.map(\.key), in: namespace)
    let pending = PendingGet(request: get, deadline: deadline, cause: .commits(tickets))
    add(pending, id, on: loop)
  }

  /// Answers waiting GETs whose deadline has passed.
  func expireGets(_ now: Instant, on loop: isolated Loop) {
    for (id, get) in pendingGets where get.deadline <= now {
      guard let namespace else { return }
      remove(get, id)
      finish(id, get, namespace, isLate: true, on: loop)
      get.cancel(in: context.pool)
    }
  }

  /// Starts one wait per key that is in no tier; none if everything is there.
  private func wait(
    for get: GetRequest, _ id: UInt64, _ namespace: Namespace, _ loop: isolated Loop
  ) throws(Refusal) -> [WaitTicket] {
    var tickets: [WaitTicket] = []
    let signal = LoopSignal(loop: loop, session: self)
    for item in get.items {
      do {
        let ticket = try context.pool.wait(for: item.key, in: namespace) {
          signal.raise { session, loop in session.recheck(id, on: loop) }
        }
        if let ticket { tickets.append(ticket) }
      } catch {
        for ticket in tickets { context.pool.cancel(ticket) }
        throw Refusal(error)
      }
    }
    return tickets
  }

  /// Reads what is only on disk, then answers; at once if nothing is.
  private func read(
    _ get: GetRequest, _ id: UInt64, _ namespace: Namespace, deadline: Instant,
    on loop: isolated Loop
  ) throws(Refusal) {
    let signal = LoopSignal(loop: loop, session: self)
    let fetch = context.pool.fetch(get.items.map(\.key), in: namespace) {
      signal.raise { session, loop in session.recheck(id, on: loop) }
    }
    guard let fetch, !fetch.isDone else {
      return try answer(get, id, namespace, fetch: fetch, isLate: false, now: loop.now())
    }
    let cause = PendingGet.Cause.reads(fetch, since: loop.now())
    add(PendingGet(request: get, deadline: deadline, cause: cause), id, on: loop)
  }

  private func add(_ get: PendingGet, _ id: UInt64, on loop: isolated Loop) {
    pendingGets[id] = get
    context.counters.countWaiting(1)
    loop.wake(at: get.deadline)
  }

  private func remove(_ get: PendingGet, _ id: UInt64) {
    pendingGets[id] = nil
    context.counters.countWaiting(-1)
  }

  /// Something that a waiting GET misses was committed or read: go on once nothing is missing.
  private func recheck(_ id: UInt64, on loop: isolated Loop) {
    guard let get = pendingGets[id], let namespace else { return }
    switch get.cause {
    case .commits(let tickets):
      guard get.request.items.allSatisfy({ context.pool.contains($0.key, in: namespace) }) else {
        return
      }
      remove(get, id)
      for ticket in tickets { context.pool.cancel(ticket) }
      do {
        try read(get.request, id, namespace, deadline: get.deadline, on: loop)
      } catch {
        refuse(id, .get, error, now: loop.now())
      }
    case .reads(let fetch, let start):
      guard fetch.isDone else { return }
      remove(get, id)
      context.noteRead(fetch.readBytes, nanoseconds: loop.now().nanoseconds(since: start))
      finish(id, get, namespace, isLate: false, on: loop)
    }
  }

  private func finish(
    _ id: UInt64, _ get: PendingGet, _ namespace: Namespace, isLate: Bool, on loop: isolated Loop
  ) {
    do {
      try answer(
        get.request, id, namespace, fetch: get.fetch, isLate: isLate, now: loop.now())
    } catch {
      refuse(id, .get, error, now: loop.now())
    }
  }

  // MARK: The answer

  /// Answers with what is there; `isLate` if the deadline has passed.
  private func answer(
    _ get: GetRequest, _ id: UInt64, _ namespace: Namespace, fetch: Fetch?, isLate: Bool,
    now: Instant
  ) throws(Refusal) {
    var reply = GetReply(creditBytes: context.limits.creditBytes)
    for item in get.items {
      switch find(item.key, namespace, fetch) {
      case .miss(let cause):
        reply.miss(isLate ? Self.lateCause(cause, isReading: fetch != nil) : cause)
      case .hit(let hit):
        do {
          let ranges = try selected(item.selection, of: hit.object, namespace)
          reply.hit(
            hit, ranges: ranges, isWhole: item.selection == .whole,
            isVerified: !get.flags.contains(.unverified))
        } catch {
          throw .fault(error)
        }
      }
    }
    reply.send(
      over: link, id: id, frameBytesMax: context.limits.maxFramePayloadBytes, encoder: &encoder)
    machine.answered(id, now: now)
  }

  /// What the fetch has is final; the rest is in RAM, nowhere, or not yet read.
  private func find(_ key: ObjectKey, _ namespace: Namespace, _ fetch: Fetch?) -> Lookup {
    if let fetch, let found = fetch.take(key) { return found }
    return context.pool.lookup(key, in: namespace)
  }

  /// Who waited for commits waited for all that is missing; who waited for reads only for what
  /// could not be read yet.
  private static func lateCause(_ cause: MissCause, isReading: Bool) -> MissCause {
    isReading && cause != .notReady ? cause : .overDeadline
  }

  private func selected(
    _ selection: GetRequest.Selection, of object: StoredObject, _ namespace: Namespace
  ) throws(FieldFault) -> [Range<Int>] {
    switch selection {
    case .whole: return [0..<object.byteCount]
    case .ranges(let ranges):
      for range in ranges where range.upperBound > object.byteCount {
        throw FieldFault(
          "length", value: range.upperBound, limit: object.byteCount, "beyond the object's end")
      }
      return ranges
    case .part(let part):
      guard let geometry = context.pool.geometry(of: object.key.layout, in: namespace) else {
        throw FieldFault("selection", value: 2, limit: 1, "an opaque object has no layers")
      }
      return try geometry.ranges(of: part, in: object.key.part, tokens: object.tokenCount)
    }
  }
}
