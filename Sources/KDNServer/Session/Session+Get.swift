internal import KDNCore
internal import KDNMemory
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// GET: answers now, or waits for what is missing if asked to.
  func get(
    _ get: GetRequest, _ id: UInt64, _ namespace: Namespace, deadline: Instant,
    on loop: isolated Loop
  ) throws(Refusal) {
    guard get.flags.contains(.wait) else {
      return try answer(get, id, namespace, missing: nil, now: loop.now())
    }
    let tickets = try wait(for: get, id, namespace, loop)
    guard !tickets.isEmpty else {
      return try answer(get, id, namespace, missing: nil, now: loop.now())
    }
    pendingGets[id] = PendingGet(request: get, deadline: deadline, tickets: tickets)
    context.counters.countWaiting(1)
    loop.wake(at: deadline)
  }

  /// Answers waiting GETs whose deadline has passed.
  func expireGets(_ now: Instant, on loop: isolated Loop) {
    for (id, get) in pendingGets where get.deadline <= now {
      finish(id, get, missing: .overDeadline, on: loop)
    }
  }

  /// Starts one wait per missing key; none if everything is there.
  private func wait(
    for get: GetRequest, _ id: UInt64, _ namespace: Namespace, _ loop: isolated Loop
  ) throws(Refusal) -> [WaitTicket] {
    var tickets: [WaitTicket] = []
    let signal = LoopSignal(loop: loop, session: self, id: id)
    for item in get.items {
      do {
        let ticket = try context.pool.wait(for: item.key, in: namespace) { signal.raise() }
        if let ticket { tickets.append(ticket) }
      } catch {
        for ticket in tickets { context.pool.cancel(ticket) }
        throw Refusal(error)
      }
    }
    return tickets
  }

  /// Something that a waiting GET misses was committed: answer it once nothing is missing.
  func recheck(_ id: UInt64, on loop: isolated Loop) {
    guard let get = pendingGets[id], let namespace else { return }
    let isWhole = get.request.items.allSatisfy { context.pool.contains($0.key, in: namespace) }
    guard isWhole else { return }
    finish(id, get, missing: nil, on: loop)
    flush(on: loop)
  }

  private func finish(
    _ id: UInt64, _ get: PendingGet, missing: MissCause?, on loop: isolated Loop
  ) {
    guard let namespace else { return }
    pendingGets[id] = nil
    context.counters.countWaiting(-1)
    get.cancel(in: context.pool)
    do {
      try answer(get.request, id, namespace, missing: missing, now: loop.now())
    } catch {
      refuse(id, .get, error, now: loop.now())
    }
  }

  // MARK: The answer

  private func answer(
    _ get: GetRequest, _ id: UInt64, _ namespace: Namespace, missing: MissCause?, now: Instant
  ) throws(Refusal) {
    var reply = GetReply(creditBytes: context.limits.creditBytes)
    for item in get.items {
      switch context.pool.lookup(item.key, in: namespace) {
      case .miss(let cause): reply.miss(missing ?? cause)
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

/// Wakes a waiting GET on its own loop; made on that loop, raised from any thread.
private struct LoopSignal: Sendable {
  private let loop: Loop
  private let id: UInt64
  private let sessions: WeakSession

  init(loop: isolated Loop, session: Session, id: UInt64) {
    self.loop = loop
    self.id = id
    sessions = WeakSession(session)
  }

  func raise() {
    loop.post { [sessions, id] loop in
      sessions.session?.recheck(id, on: loop)
    }
  }
}

// Safe because: the reference is read only on the session's own loop, inside `post`.
private final class WeakSession: @unchecked Sendable {
  private(set) weak var session: Session?

  init(_ session: Session) { self.session = session }
}
