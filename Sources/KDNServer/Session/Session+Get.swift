internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// GET: answers now, or waits: for what nobody has stored yet, if asked to, then for the disk.
  func get(_ get: GetRequest, _ call: Call, on loop: isolated Loop) throws(Refusal) {
    // Nothing is read from disk for a tenant that owes bytes.
    try takeBytes(0, now: call.arrival)
    let tickets = get.flags.contains(.wait) ? try wait(for: get, call, loop) : []
    guard !tickets.isEmpty else { return try read(get, call, on: loop) }
    // What is on disk comes to RAM meanwhile; it is held only once all is there.
    _ = context.pool.prefetch(get.items.map(\.key), in: call.namespace)
    add(PendingGet(get, call, cause: .commits(tickets), since: loop.now()), call.id, on: loop)
  }

  /// Answers waiting GETs whose deadline has passed.
  func expireGets(_ now: Instant, on loop: isolated Loop) {
    for (id, get) in pendingGets where get.deadline <= now {
      remove(id)
      finish(get, isLate: true, on: loop)
      get.cancel(in: context.pool)
    }
  }

  /// Starts one wait per key that is in no tier; none if everything is there.
  private func wait(
    for get: GetRequest, _ call: Call, _ loop: isolated Loop
  ) throws(Refusal) -> [WaitTicket] {
    var tickets: [WaitTicket] = []
    let signal = LoopSignal(loop: loop, session: self)
    let id = call.id
    for item in get.items {
      do {
        let ticket = try context.pool.wait(for: item.key, in: call.namespace) {
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

  /// Reads what is only on disk, and has decoded what the client does not; then answers, at once
  /// if there is nothing of it.
  private func read(_ get: GetRequest, _ call: Call, on loop: isolated Loop) throws(Refusal) {
    let signal = LoopSignal(loop: loop, session: self)
    let id = call.id
    let keys = get.items.map(\.key)
    let terms = FetchTerms(
      accepting: get.forms, isExact: get.flags.contains(.exact),
      below: chosenBelow(get, call, now: loop.now()))
    let fetch = context.pool.fetch(keys, in: call.namespace, terms) {
      signal.raise { session, loop in session.recheck(id, on: loop) }
    }
    guard let fetch, !fetch.isDone else {
      return try answer(get, call, fetch: fetch, isLate: false, on: loop)
    }
    add(PendingGet(get, call, cause: .reads(fetch), since: loop.now()), id, on: loop)
  }

  private func add(_ get: PendingGet, _ id: UInt64, on loop: isolated Loop) {
    pendingGets[id] = get
    context.counters.countWaiting(1)
    loop.wake(at: get.deadline)
  }

  private func remove(_ id: UInt64) {
    pendingGets[id] = nil
    context.counters.countWaiting(-1)
  }

  /// Something that a waiting GET misses was committed, given up or read: go on once nothing is
  /// missing.
  private func recheck(_ id: UInt64, on loop: isolated Loop) {
    guard let get = pendingGets[id], let namespace = member?.namespace else { return }
    switch get.cause {
    case .commits(let tickets):
      let isSettled = get.request.items.allSatisfy { item in
        context.pool.contains(item.key, in: namespace)
          || context.pool.isGivenUp(item.key, in: namespace)
      }
      guard isSettled else { return }
      remove(id)
      for ticket in tickets { context.pool.cancel(ticket) }
      let call = get.ended(now: loop.now())
      do {
        try read(get.request, call, on: loop)
      } catch {
        refuse(call, error, now: loop.now())
      }
    case .reads(let fetch):
      guard fetch.isDone else { return }
      remove(id)
      context.noteRead(fetch.readBytes, nanoseconds: get.waited(now: loop.now()))
      finish(get, isLate: false, on: loop)
    }
  }

  private func finish(_ get: PendingGet, isLate: Bool, on loop: isolated Loop) {
    let call = get.ended(now: loop.now())
    do {
      try answer(get.request, call, fetch: get.fetch, isLate: isLate, on: loop)
    } catch {
      refuse(call, error, now: loop.now())
    }
  }

  // MARK: The answer

  /// Answers with what is there; `isLate` if the deadline has passed.
  private func answer(
    _ get: GetRequest, _ call: Call, fetch: Fetch?, isLate: Bool, on loop: isolated Loop
  ) throws(Refusal) {
    if call.usesProfile {
      return try useProfile(
        get.items[0], of: get, call, fetch: fetch, isLate: isLate, on: loop)
    }
    var reply = GetReply(room: room(for: get), isInPlace: get.place.kind == .sharedMemory)
    if let adaptation = get.adaptation {
      try chooseItems(
        of: get, adaptation, call, fetch: fetch, isLate: isLate, for: &reply, now: loop.now())
    } else {
      for item in get.items {
        switch found(item, of: get, call.namespace, fetch: fetch, isLate: isLate) {
        case .miss(let cause): reply.miss(cause)
        case .hit(let hit): try add(hit, item, of: get, call.namespace, to: &reply)
        }
      }
    }
    context.deliveries.add(reply.tally)
    var call = call
    call.bytes = reply.payloadBytes
    try takeBytes(call.bytes, now: loop.now())
    let hashed = reply.hashedBytes
    switch get.place {
    case .inline:
      linkCounter.count(copied: call.bytes)
      linkCounter.count(hashed: hashed)
      reply.send(
        over: link, id: call.id, of: call.operation,
        frameBytesMax: limits.maxFramePayloadBytes, encoder: &encoder)
    case .sharedMemory(let leaseMilliseconds):
      sharedCounter.count(hashed: hashed)
      try lend(reply, leaseMilliseconds, call, on: loop)
    case .remote(let regions):
      linkCounter.count(hashed: hashed)
      return try answerRemotely(reply, regions, call, on: loop)
    }
    ended(call, .ok, now: loop.now())
  }

  /// How much the answer may be; what is lent in place counts until it is given back.
  private func room(for get: GetRequest) -> GetReply.Room {
    guard get.place.kind == .sharedMemory else {
      return GetReply.Room(creditBytes: limits.creditBytes)
    }
    let fixed = GetResponse.fixedByteCount + InPlaceAnswer.fixedByteCount
    return GetReply.Room(
      creditBytes: share?.room(within: limits.creditBytes) ?? 0,
      bodyBytes: limits.maxBodyBytes - fixed - get.items.count * GetDescriptor.byteCount)
  }

  /// What there is of an item for this client.
  func found(
    _ item: GetRequest.Item, of get: GetRequest, _ namespace: Namespace, fetch: Fetch?,
    isLate: Bool
  ) -> Lookup {
    switch find(item.key, namespace, accepting: get.forms, fetch) {
    case .hit(let hit):
      return get.flags.contains(.exact) && !hit.isExact ? .miss(.inexact) : .hit(hit)
    case .miss(let cause):
      return .miss(isLate ? Self.lateCause(cause, isReading: fetch != nil) : cause)
    }
  }

  /// Adds what an item selects of a hit to the answer.
  func add(
    _ hit: consuming ReadLease, _ item: GetRequest.Item, of get: GetRequest,
    _ namespace: Namespace, to reply: inout GetReply
  ) throws(Refusal) {
    do {
      let ranges = try selected(item.selection, of: hit, namespace)
      reply.hit(
        hit, ranges: ranges, isWhole: item.selection == .whole,
        isVerified: !get.flags.contains(.unverified))
    } catch {
      throw .fault(error)
    }
  }

  /// What the fetch has is final; the rest is in RAM, nowhere, or not yet read.
  private func find(
    _ key: ObjectKey, _ namespace: Namespace, accepting forms: CodecSet, _ fetch: Fetch?
  ) -> Lookup {
    if let fetch, let found = fetch.take(key) { return found }
    return context.pool.lookup(key, in: namespace, accepting: forms)
  }

  /// Who waited for commits waited for all that is missing; who waited for reads only for what
  /// could not be read yet.
  private static func lateCause(_ cause: MissCause, isReading: Bool) -> MissCause {
    isReading && cause != .notReady ? cause : .overDeadline
  }

  /// The ranges of a hit's bytes that a selection names.
  func selected(
    _ selection: GetRequest.Selection, of hit: borrowing ReadLease, _ namespace: Namespace
  ) throws(FieldFault) -> [Range<Int>] {
    let object = hit.object
    switch selection {
    case .whole: return [0..<hit.lease.byteCount]
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
