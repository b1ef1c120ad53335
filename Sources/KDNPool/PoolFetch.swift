package import KDNCore
internal import KDNMemory
internal import KDNTier
internal import Synchronization

extension Pool {
  /// Starts reading what is not in RAM but in the slower tier; nil if nothing has to be read.
  ///
  /// Objects of `keys` that are in RAM are kept there for the fetch, so that its reads do not evict
  /// them. `notify` is called once, when the last read is over, outside all locks, on any thread,
  /// perhaps before this returns. Reads go into RAM, into staging memory if nothing in RAM can go.
  /// What finds no room anywhere waits for other reads of the same fetch. When none is left it is
  /// missed as `overCredit` if the fetch itself holds that much; else it waits until others give
  /// memory back, at most `roomWaitMilliseconds`, and is missed as `notReady` then.
  package func fetch(
    _ keys: [ObjectKey], in namespace: Namespace, notify: @escaping @Sendable () -> Void
  ) -> Fetch? {
    guard let backing, !backing.isClosing else { return nil }
    let now = clock.now()
    let isNeeded = keys.contains { key in
      live(key, in: namespace, now: now) == nil && backing.held(key, in: namespace) != nil
    }
    guard isNeeded else { return nil }
    var takes: [ObjectKey: Int] = [:]
    var reads: [ObjectKey] = []
    var inRAM: [Fetch.Hold] = []
    for key in keys {
      takes[key, default: 0] += 1
      guard takes[key] == 1 else { continue }
      if let hold = hold(key, in: namespace, now: now) {
        inRAM.append(hold)
      } else if backing.held(key, in: namespace) != nil {
        reads.append(key)
      }
    }
    let fetch = Fetch(self, namespace, reads: reads, takes: takes, inRAM: inRAM, notify: notify)
    pursue(fetch, backing)
    return fetch
  }

  /// Starts promotion of what is not in RAM but in the slower tier, at most `prefetchesMax` of a
  /// namespace at a time; returns how many of the objects are in RAM, and how many reads were
  /// started.
  ///
  /// Nothing waits for them, and they use no staging memory.
  package func prefetch(
    _ keys: [ObjectKey], in namespace: Namespace
  ) -> (present: Int, started: Int) {
    let now = clock.now()
    var answer = (present: 0, started: 0)
    for key in keys {
      if live(key, in: namespace, now: now) != nil {
        answer.present += 1
      } else if let backing, !backing.isClosing, backing.held(key, in: namespace) != nil,
        begin(key, in: namespace, for: nil, backing)
      {
        answer.started += 1
      }
    }
    return answer
  }

  /// Does all that can be done for a fetch now.
  func pursue(_ fetch: Fetch, _ backing: Backing) {
    var isFirst = true
    while true {
      switch fetch.nextStep(isFirst: isFirst) {
      case .rest(let notify):
        notify?()
        return
      case .begin(let keys):
        for key in keys {
          fetch.noteReading()
          _ = begin(key, in: fetch.namespace, for: fetch, backing)
        }
      case .giveUp(let keys, let heldBytes):
        waitForRoom(keys, fetch, heldBytes: heldBytes, backing)
      }
      isFirst = false
    }
  }

  /// Gives up what the fetch itself leaves no room for, and lets the rest wait for others.
  private func waitForRoom(
    _ keys: [ObjectKey], _ fetch: Fetch, heldBytes: Int, _ backing: Backing
  ) {
    let now = clock.now()
    let end = now.advanced(milliseconds: configuration.roomWaitMilliseconds)
    var waiting: [ObjectKey] = []
    for key in keys {
      let byteCount = max(backing.held(key, in: fetch.namespace)?.byteCount ?? 0, 1)
      if heldBytes >= byteCount {
        giveUp(key, fetch, .overCredit, backing)
      } else if canEverHold(byteCount, fetch.namespace)
        || backing.staging?.canEverHold(byteCount: byteCount) == true
      {
        waiting.append(key)
      } else {
        giveUp(key, fetch, .notReady, backing)
      }
    }
    guard !waiting.isEmpty else { return }
    if fetch.park(waiting, until: end, now: now) {
      backing.fetches.withLock { $0.parked.append(FetchTable.Parked(fetch: fetch)) }
    } else {
      for key in waiting { giveUp(key, fetch, .notReady, backing) }
    }
  }

  private func canEverHold(_ byteCount: Int, _ namespace: Namespace) -> Bool {
    arena.canEverHold(byteCount: byteCount) && byteCount <= namespace.quota.bytesMax
  }

  private func giveUp(
    _ key: ObjectKey, _ fetch: Fetch, _ cause: MissCause, _ backing: Backing
  ) {
    fetch.noteReading()
    backing.fetches.withLock { $0.counts.failed[cause, default: 0] += 1 }
    fetch.deliver(.missed(cause), for: key)
  }

  /// Tries again what waited for others to give memory back.
  func retryParked(_ backing: Backing) {
    let parked = backing.fetches.withLock { table in
      defer { table.parked = [] }
      return table.parked
    }
    for fetch in parked.compactMap(\.fetch) {
      fetch.unpark()
      pursue(fetch, backing)
    }
  }

  /// Joins the read of an object or begins it; says whether it began one.
  private func begin(
    _ key: ObjectKey, in namespace: Namespace, for fetch: Fetch?, _ backing: Backing
  ) -> Bool {
    let now = clock.now()
    let deadline = now.advanced(milliseconds: configuration.readStallMilliseconds)
    let limit = configuration.prefetchesMax
    let joining = backing.fetches.withLock {
      $0.join(key, in: namespace, fetch, prefetchesMax: limit, deadline: deadline)
    }
    switch joining {
    case .joined, .full: return false
    case .purged:
      if let fetch { settle([fetch], .missed(.purged), key, backing) }
      return false
    case .first(let flight): return depart(flight, now: now, backing)
    }
  }

  /// Finds room for a flight and hands it to the tier; says whether it did.
  private func depart(_ flight: Flight, now: Instant, _ backing: Backing) -> Bool {
    // A read that ended between the caller's look into RAM and its joining has published.
    if let hold = hold(flight.key, in: flight.namespace, now: now) {
      land(flight, .inRAM(hold), backing)
      return false
    }
    guard let held = backing.held(flight.key, in: flight.namespace) else {
      let cause = backing.missCause(flight.key, in: flight.namespace, inRAM: .evicted)
      land(flight, .missed(cause), backing)
      return false
    }
    guard let room = takeRoom(for: flight, held.byteCount, now: now, backing) else {
      let fetches = backing.fetches.withLock { $0.remove(flight) }
      for fetch in fetches { fetch.deferRead(of: flight.key) }
      for fetch in fetches { pursue(fetch, backing) }
      return false
    }
    backing.fetches.withLock { table in
      table.counts.started += 1
      if flight.isPrefetch { table.counts.prefetched += 1 }
    }
    read(flight, into: room, backing)
    return true
  }

  /// RAM if something there can go, for the tenant's quota something of its own, else staging
  /// memory.
  private func takeRoom(
    for flight: Flight, _ byteCount: Int, now: Instant, _ backing: Backing
  ) -> FlightRoom? {
    let namespace = flight.namespace
    guard let charge = takeSharedCharge(for: namespace, now: now) else { return nil }
    if arena.canEverHold(byteCount: byteCount),
      let quota = try? takeQuota(byteCount, namespace, now: now),
      let memory = try? takeMemory(byteCount, namespace, now: now)
    {
      return FlightRoom(memory, charge: charge, quota: quota)
    }
    guard !flight.isPrefetch, let staging = backing.staging,
      let memory = staging.reserve(byteCount: byteCount, owner: namespace.owner)
    else { return nil }
    return FlightRoom(memory, charge: charge, quota: nil)
  }

  func read(_ flight: Flight, into room: FlightRoom, _ backing: Backing) {
    backing.tier.read(flight.key, in: flight.namespace.name, into: room.memory) { reading in
      self.arrive(flight, room, reading, backing)
    }
  }

  /// Keeps an object that is in RAM readable; nil if it is not there.
  func hold(_ key: ObjectKey, in namespace: Namespace, now: Instant) -> Fetch.Hold? {
    let place = ChunkPlace(key.hash, in: namespace.number)
    return stripe(of: place).withLock { $0.live(key, at: place, now: now).map(Fetch.Hold.init) }
  }
}
