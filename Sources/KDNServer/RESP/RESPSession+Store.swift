internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// SET and what changes keys.
extension RESPSession {
  /// A value follows: makes room for it, or remembers why there is none.
  func begin(_ name: [UInt8], byteCount: Int, now: Instant) {
    let key = Self.key(name)
    context.counters.countTransfers(1)
    do {
      let reservation = try reserve(key, byteCount, now: now)
      store = RESPStore(
        name, key, byteCount: byteCount, arrival: now, reservation: reservation)
    } catch {
      login?.gate.chargeBytes(byteCount, now: now)
      store = RESPStore(name, key, byteCount: byteCount, arrival: now, refusal: error)
    }
  }

  private func reserve(
    _ key: ObjectKey, _ byteCount: Int, now: Instant
  ) throws(RESPError) -> StoreReservation {
    guard let login else { throw .noAuthentication }
    let limit = min(settings.valueBytesMax, limits.maxObjectBytes)
    guard byteCount <= limit else {
      throw RESPError("the value is larger than the \(limit) bytes that can be kept")
    }
    guard byteCount > 0 else { throw RESPError("an empty value cannot be kept") }
    guard login.gate.takeRequest(now: now) == nil, login.gate.takeBytes(byteCount, now: now) == nil
    else { throw .rateExceeded }
    do {
      return try context.pool.reserveReplacing(
        StoreFacts(key: key, byteCount: byteCount), in: login.namespace)
    } catch {
      throw RESPError(error)
    }
  }

  /// Gives a value up that was on its way.
  func endStore() {
    guard store != nil else { return }
    store = nil
    context.counters.countTransfers(-1)
  }

  /// The value is there: puts it in the place of what the key holds.
  func endStore(_ options: RESPSetOptions, now: Instant, on loop: isolated Loop) {
    guard let store else { preconditionFailure("a value ended that had not begun") }
    endStore()
    guard let login, let reservation = store.takeReservation() else {
      return refuse(store.refusal ?? .noAuthentication, of: store)
    }
    guard !options.returnsOld else { return refuse(.unsupported("SET with GET"), of: store) }
    if conversation.isPlain { ownLengths.note(store.byteCount, of: store.name) }
    login.keyspace.note(length: store.byteCount, of: store.name)
    login.keyspace.note(store.name)
    let facts = StoreFacts(
      key: store.key, byteCount: store.byteCount,
      ttlMilliseconds: milliseconds(of: options, store.key, login))
    let (pool, namespace, name) = (context.pool, login.namespace, store.name)
    let (arrival, byteCount) = (store.arrival, store.byteCount)
    let checksum = store.digest
    var offered: StoreReservation? = consume reservation
    change(on: loop) { done in
      guard let reservation = offered.take() else { return }
      pool.replace(
        reservation, facts, checksum: checksum, in: namespace, condition: options.poolCondition,
        completion: done)
    } answer: { session, result, writer in
      session.answer(result, options, name, byteCount: byteCount, arrival: arrival, to: &writer)
    }
  }

  private func answer(
    _ result: Result<ReplaceAnswer, PoolRefusal>, _ options: RESPSetOptions, _ name: [UInt8],
    byteCount: Int, arrival: Instant, to writer: inout ByteWriter
  ) {
    let encoder = conversation.encoder
    var status = Status.ok
    switch result {
    // A purge of everything came between: the value was stored before it.
    case .success(.stored), .success(.present), .failure(.notFound):
      if options.reply == .number {
        encoder.integer(1, to: &writer)
      } else {
        encoder.ok(to: &writer)
      }
    case .success(.unchanged):
      if options.reply == .number {
        encoder.integer(0, to: &writer)
      } else {
        encoder.null(to: &writer)
      }
    case .failure(let refusal):
      status = Refusal(refusal).status
      context.counters.countError()
      login?.gate.counters.countError(status: status.rawValue)
      guard readsBlindly(name) else { return encoder.error(RESPError(refusal), to: &writer) }
      encoder.paddedError(replyBytes: Self.okBytes, to: &writer)
    }
    count(.putCommit, status, since: arrival, now: SystemClock().now(), bytes: byteCount)
  }

  /// Length of the reply that a client awaits that does not parse replies.
  private static let okBytes = 5

  private func refuse(_ error: RESPError, of store: RESPStore) {
    guard readsBlindly(store.name) else { return refuse(error) }
    context.counters.countError()
    let encoder = conversation.encoder
    replies.write { encoder.paddedError(replyBytes: Self.okBytes, to: &$0) }
  }

  private func milliseconds(
    of options: RESPSetOptions, _ key: ObjectKey, _ login: RESPLogin
  ) -> UInt64 {
    if let expiry = options.expiry { return UInt64(max(1, expiry.millisecondsLeft)) }
    guard options.keepsExpiry,
      case .milliseconds(let left) = context.pool.timeToLive(of: key, in: login.namespace)
    else { return 0 }
    return max(1, left)
  }

  // MARK: Keys

  /// DEL: answered once no crash can bring the objects back.
  func delete(_ names: [[UInt8]], _ login: RESPLogin, now: Instant, on loop: isolated Loop) {
    for name in names { login.keyspace.forget(name) }
    let (pool, namespace) = (context.pool, login.namespace)
    let keys = Array(Set(names.map(Self.key)))
    let isBlind = names.count == 1 && readsBlindly(names[0])
    change(on: loop) { done in
      pool.purge(.keys(keys), in: namespace, completion: done)
    } answer: { session, result, writer in
      session.answer(result, isBlind: isBlind, since: now, to: &writer)
    }
  }

  private func answer(
    _ result: Result<PurgeCount, PoolRefusal>, isBlind: Bool, since start: Instant,
    to writer: inout ByteWriter
  ) {
    let encoder = conversation.encoder
    var status = Status.ok
    switch result {
    case .success(let count): encoder.integer(count.objects, to: &writer)
    case .failure(let refusal):
      status = Refusal(refusal).status
      context.counters.countError()
      if isBlind {
        encoder.integer(0, to: &writer)
      } else {
        encoder.error(RESPError(refusal), to: &writer)
      }
    }
    count(.purge, status, since: start, now: SystemClock().now())
  }

  /// FLUSHDB: drops the namespace's objects, whoever stored them.
  func flushAll(_ login: RESPLogin, now: Instant, on loop: isolated Loop) {
    guard login.pass.credential != .local else {
      return refuse(RESPError("NOPERM", "only who logs in to the namespace may flush it"))
    }
    login.keyspace.forgetNames()
    let (pool, namespace) = (context.pool, login.namespace)
    change(on: loop) { done in
      pool.purge(.namespace, in: namespace, completion: done)
    } answer: { session, result, writer in
      switch result {
      case .success: session.conversation.encoder.ok(to: &writer)
      case .failure(let refusal):
        session.conversation.encoder.error(RESPError(refusal), to: &writer)
      }
    }
  }

  /// EXPIRE: 1 if the TTL was set.
  func expire(
    _ name: [UInt8], _ expiry: RESPExpiry, _ condition: RESPExpireCondition, _ login: RESPLogin,
    on loop: isolated Loop
  ) {
    let left = expiry.millisecondsLeft
    let present = context.pool.timeToLive(of: Self.key(name), in: login.namespace)
    guard condition.allows(left, after: present) else {
      let encoder = conversation.encoder
      return replies.write { encoder.integer(0, to: &$0) }
    }
    guard left > 0 else { return delete([name], login, now: loop.now(), on: loop) }
    setTTL(UInt64(left), of: Self.key(name), login, on: loop)
  }

  /// PERSIST: 1 if there was a TTL.
  func persist(_ name: [UInt8], _ login: RESPLogin, on loop: isolated Loop) {
    let key = Self.key(name)
    guard case .milliseconds = context.pool.timeToLive(of: key, in: login.namespace) else {
      let encoder = conversation.encoder
      return replies.write { encoder.integer(0, to: &$0) }
    }
    setTTL(0, of: key, login, on: loop)
  }

  private func setTTL(
    _ milliseconds: UInt64, of key: ObjectKey, _ login: RESPLogin, on loop: isolated Loop
  ) {
    let (pool, namespace) = (context.pool, login.namespace)
    change(on: loop) { done in
      TTLChange(milliseconds, key, namespace, pool, done).begin()
    } answer: { session, result, writer in
      let encoder = session.conversation.encoder
      switch result {
      case .success(let answer): encoder.integer(answer == .unchanged ? 0 : 1, to: &writer)
      case .failure(let refusal): encoder.error(RESPError(refusal), to: &writer)
      }
    }
  }
}

extension RESPSetOptions {
  /// The condition in the pool's terms.
  fileprivate var poolCondition: ReplaceCondition {
    switch condition {
    case .always: .always
    case .ifAbsent: .ifAbsent
    case .ifPresent: .ifPresent
    }
  }
}

extension RESPExpiry {
  /// Milliseconds from now on; 0 or less if that has passed.
  fileprivate var millisecondsLeft: Int64 {
    switch self {
    case .after(let milliseconds): milliseconds
    case .at(let end): end.subtractingClamped(Int64(clamping: SystemWallClock().milliseconds()))
    }
  }
}

extension Int64 {
  fileprivate func subtractingClamped(_ other: Int64) -> Int64 {
    let (difference, overflow) = subtractingReportingOverflow(other)
    return overflow ? (self < other ? .min : .max) : difference
  }
}

extension RESPExpireCondition {
  /// Whether a TTL may be set to end in `left` milliseconds where `present` is what is left now.
  fileprivate func allows(_ left: Int64, after present: TimeToLive) -> Bool {
    switch present {
    case .absent: false
    case .endless: isDisjoint(with: [.ifSome, .ifLater])
    case .milliseconds(let now):
      !contains(.ifNone) && (!contains(.ifLater) || left > Int64(clamping: now))
        && (!contains(.ifSooner) || left < Int64(clamping: now))
    }
  }
}
