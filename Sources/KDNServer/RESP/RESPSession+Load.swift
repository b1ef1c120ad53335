internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

/// A read that waits for the disk; at its deadline it is answered with what is there.
struct PendingLoad {
  let names: [[UInt8]]
  let isMany: Bool
  let login: RESPLogin
  let fetch: Fetch
  let arrival: Instant
  let deadline: Instant
}

/// GET, MGET and EXISTS.
extension RESPSession {
  /// GET and MGET: answers now, or once what is only on disk has been read.
  func load(
    _ names: [[UInt8]], isMany: Bool, _ login: RESPLogin, now: Instant, on loop: isolated Loop
  ) {
    // Nothing is read from disk for a tenant that owes bytes.
    guard login.gate.takeBytes(0, now: now) == nil else {
      return refuseLoad(names, isMany: isMany)
    }
    let signal = LoopSignal(loop: loop, session: self)
    let number = nextLoad
    let fetch = context.pool.fetch(names.map(Self.key), in: login.namespace) {
      signal.raise { session, loop in session.loaded(number, on: loop) }
    }
    guard let fetch, !fetch.isDone else {
      return replies.add(
        pieces(names, fetch, isMany: isMany, login, arrival: now, now: loop.now()))
    }
    nextLoad += 1
    let deadline = now.advanced(milliseconds: UInt64(limits.defaultDeadlineMilliseconds))
    loads[number] = PendingLoad(
      names: names, isMany: isMany, login: login, fetch: fetch, arrival: now, deadline: deadline)
    loadPlaces[number] = replies.reserve()
    context.counters.countWaiting(1)
    loop.wake(at: deadline)
  }

  /// Answers reads that have waited for too long with what is there.
  func expireLoads(now: Instant, on loop: isolated Loop) {
    for (number, load) in loads where load.deadline <= now {
      finish(number, on: loop)
      load.fetch.cancel()
    }
  }

  private func loaded(_ number: UInt64, on loop: isolated Loop) {
    guard let load = loads[number], load.fetch.isDone else { return }
    context.noteRead(
      load.fetch.readBytes, nanoseconds: loop.now().nanoseconds(since: load.arrival))
    finish(number, on: loop)
  }

  private func finish(_ number: UInt64, on loop: isolated Loop) {
    guard let load = loads.removeValue(forKey: number),
      let place = loadPlaces.removeValue(forKey: number)
    else { return }
    context.counters.countWaiting(-1)
    replies.fill(
      place,
      pieces(
        load.names, load.fetch, isMany: load.isMany, load.login, arrival: load.arrival,
        now: loop.now()))
    goOn(on: loop)
  }

  // MARK: The reply

  private func pieces(
    _ names: [[UInt8]], _ fetch: Fetch?, isMany: Bool, _ login: RESPLogin, arrival: Instant,
    now: Instant
  ) -> [RESPPiece] {
    let encoder = conversation.encoder
    var pieces: [RESPPiece] = []
    var writer = ByteWriter(capacity: 32)
    if isMany { encoder.arrayHeader(count: names.count, to: &writer) }
    var byteCount = 0
    for name in names {
      // One reply must not hold more of the arena than a native one may; a lone value always can.
      let room = byteCount == 0 ? Int.max : limits.creditBytes - byteCount
      guard let value = value(of: name, fetch, login, atMost: room) else {
        miss(name, isMany: isMany, to: &writer)
        continue
      }
      byteCount += value.byteCount
      encoder.bulkHeader(bytes: value.byteCount, to: &writer)
      pieces.append(.bytes(writer.bytes))
      pieces.append(.value(value))
      writer = ByteWriter(capacity: 32)
      writer.put(contentsOf: RESPEncoder.lineEnd)
    }
    pieces.append(.bytes(writer.bytes))
    let isAllowed = login.gate.takeBytes(byteCount, now: now) == nil
    let disk = (fetch?.readBytes ?? 0) > 0 ? now.nanoseconds(since: arrival) : 0
    count(
      .get, isAllowed ? .ok : .busy, since: arrival, now: now, items: names.count,
      bytes: isAllowed ? byteCount : 0, diskNanoseconds: disk)
    return isAllowed ? pieces : refusedLoad(names, isMany: isMany)
  }

  /// Finds a value that its client can read and that has at most `room` bytes.
  private func value(
    of name: [UInt8], _ fetch: Fetch?, _ login: RESPLogin, atMost room: Int
  ) -> RESPValue? {
    let key = Self.key(name)
    let found = fetch?.take(key) ?? context.pool.lookup(key, in: login.namespace)
    switch found {
    case .miss:
      login.keyspace.countMiss()
      return nil
    case .hit(let hit):
      let byteCount = hit.object.byteCount
      guard byteCount <= room else {
        login.keyspace.countMiss()
        return nil
      }
      if readsBlindly(name), let own = ownLengths.length(likeOf: name), own != byteCount {
        login.keyspace.countMiss()
        return nil
      }
      login.keyspace.countHit()
      login.keyspace.note(name)
      return RESPValue(hit)
    }
  }

  private func miss(_ name: [UInt8], isMany: Bool, to writer: inout ByteWriter) {
    let encoder = conversation.encoder
    guard !isMany, readsBlindly(name) else { return encoder.null(to: &writer) }
    guard let length = awaitedLength(of: name) else {
      // It would wait for bytes of which nobody knows how many.
      closesWhenFlushed = true
      return
    }
    encoder.paddedMiss(expectedValueBytes: length, to: &writer)
  }

  private func refuseLoad(_ names: [[UInt8]], isMany: Bool) {
    replies.add(refusedLoad(names, isMany: isMany))
  }

  private func refusedLoad(_ names: [[UInt8]], isMany: Bool) -> [RESPPiece] {
    context.counters.countError()
    var writer = ByteWriter(capacity: 64)
    if !isMany, readsBlindly(names[0]) {
      miss(names[0], isMany: false, to: &writer)
    } else {
      conversation.encoder.error(.rateExceeded, to: &writer)
    }
    return [.bytes(writer.bytes)]
  }

  // MARK: EXISTS

  /// Counts the keys that are here, and keeps their objects for whoever loads them next, on this
  /// connection or another.
  func exists(_ names: [[UInt8]], _ login: RESPLogin) -> Int {
    var count = 0
    for name in names where exists(name, isOnly: names.count == 1, login) { count += 1 }
    return count
  }

  private func exists(_ name: [UInt8], isOnly: Bool, _ login: RESPLogin) -> Bool {
    let key = Self.key(name)
    let lease = settings.existsLeaseMilliseconds
    guard lease > 0 else { return context.pool.contains(key, in: login.namespace) }
    let bounds = KeepBounds(
      milliseconds: UInt64(lease), sharePercent: settings.leaseSharePercent)
    let isBlind = isOnly && readsBlindly(name)
    switch context.pool.keep(key, in: login.namespace, within: bounds) {
    case .absent: return false
    // Who believes that it stays would be wrong.
    case .present: return !isBlind
    case .kept(let byteCount):
      login.keyspace.note(name)
      guard isBlind, let own = ownLengths.length(likeOf: name) else { return true }
      return own == byteCount
    }
  }
}
