package import KDNCore
internal import KDNMemory
internal import KDNTier
internal import Synchronization

extension Pool {
  /// Starts reading what is not in RAM but in the slower tier, and decoding what is in a form that
  /// is not `accepted`; nil if nothing of this has to be done, and all that is in RAM will be found
  /// there in a form that is.
  ///
  /// Objects of `keys` that are in RAM are kept there for the fetch, in the form that they have
  /// now, so that its reads do not evict them and nobody encodes them before they are taken.
  /// `notify` is called once, when the last read is over, outside all locks, on any thread, perhaps
  /// before this returns. Reads go into RAM, into staging memory if nothing in RAM can go. What
  /// finds no room anywhere waits for other reads of the same fetch. When none is left it is missed
  /// as `overCredit` if the fetch itself holds that much; else it waits until others give memory
  /// back, at most `roomWaitMilliseconds`, and is missed as `notReady` then.
  package func fetch(
    _ keys: [ObjectKey], in namespace: Namespace, accepting accepted: CodecSet = .raw,
    notify: @escaping @Sendable () -> Void
  ) -> Fetch? {
    fetch(keys, in: namespace, FetchTerms(accepting: accepted), notify: notify)
  }

  /// The same, on these terms.
  package func fetch(
    _ keys: [ObjectKey], in namespace: Namespace, _ terms: FetchTerms,
    notify: @escaping @Sendable () -> Void
  ) -> Fetch? {
    let backing = backing.flatMap { $0.isClosing ? nil : $0 }
    let (now, accepted) = (clock.now(), terms.accepted)
    guard isNeeded(keys, in: namespace, terms, now: now, backing) else { return nil }
    var takes: [ObjectKey: Int] = [:]
    var reads: [ObjectKey] = []
    var below: Set<ObjectKey> = []
    var inRAM: [Fetch.Hold] = []
    var encoded: [Fetch.Hold] = []
    for key in keys {
      takes[key, default: 0] += 1
      guard takes[key] == 1 else { continue }
      if let hold = hold(key, in: namespace, now: now) {
        if isWantedBelow(hold, terms, namespace) {
          below.insert(key)
          reads.append(key)
        } else if accepted.contains(hold.body.form) {
          inRAM.append(hold)
        } else {
          encoded.append(hold)
        }
      } else if backing?.held(key, in: namespace) != nil {
        reads.append(key)
      }
    }
    let fetch = Fetch(
      self, namespace, accepting: accepted, below: below, reads: reads, takes: takes,
      inRAM: inRAM, decodes: encoded.count, notify: notify)
    for hold in encoded { decode(.inRAM(hold), for: fetch) }
    pursue(fetch)
    return fetch
  }

  /// Whether looking into RAM for each of these may not be enough.
  private func isNeeded(
    _ keys: [ObjectKey], in namespace: Namespace, _ terms: FetchTerms, now: Instant,
    _ backing: Backing?
  ) -> Bool {
    let keepsForms = mayBeEncoded(beyond: terms.isExact ? .raw : terms.accepted)
    // In RAM alone there are no forms but those that it gives.
    guard self.backing != nil || keepsForms else { return false }
    return keys.contains { key in
      guard let object = live(key, in: namespace, now: now) else {
        return backing?.held(key, in: namespace) != nil
      }
      guard !keepsForms, !terms.below.contains(key) else { return true }
      guard object.isEncoded else { return false }
      let form = object.body.form
      return !terms.accepted.contains(form)
        || terms.isExact && form?.isExact(of: object.checksum) == false
    }
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
  func pursue(_ fetch: Fetch) {
    var isFirst = true
    while true {
      switch fetch.nextStep(isFirst: isFirst) {
      case .rest(let notify):
        notify?()
        return
      case .begin(let keys):
        for key in keys {
          fetch.noteReading()
          guard let backing else {
            fetch.deliver(.missed(.notReady), for: key)
            continue
          }
          _ = begin(key, in: fetch.namespace, for: fetch, backing)
        }
      case .giveUp(let keys, let heldBytes):
        guard let backing else {
          for key in keys {
            fetch.noteReading()
            fetch.deliver(.missed(.notReady), for: key)
          }
          break
        }
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
      let byteCount = roomBytes(for: key, fetch, backing)
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

  /// The room that reading an object takes, or decoding it where its form is not taken.
  private func roomBytes(for key: ObjectKey, _ fetch: Fetch, _ backing: Backing) -> Int {
    if let object = live(key, in: fetch.namespace, now: clock.now()) { return object.byteCount }
    guard let held = backing.held(key, in: fetch.namespace) else { return 1 }
    return fetch.accepted.contains(held.form) ? held.storedBytes : held.byteCount
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
      pursue(fetch)
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
    if !flight.isBelow, let hold = hold(flight.key, in: flight.namespace, now: now) {
      land(flight, .inRAM(hold), backing)
      return false
    }
    guard let held = backing.held(flight.key, in: flight.namespace) else {
      let cause = backing.missCause(flight.key, in: flight.namespace, inRAM: .evicted)
      land(flight, inRAM(flight) ?? .missed(cause), backing)
      return false
    }
    guard let room = takeRoom(for: flight, held.storedBytes, now: now, backing) else {
      if flight.isBelow, let substitute = inRAM(flight) {
        land(flight, substitute, backing)
        return false
      }
      let fetches = backing.fetches.withLock { $0.remove(flight) }
      for fetch in fetches { fetch.deferRead(of: flight.key) }
      for fetch in fetches { pursue(fetch) }
      return false
    }
    backing.fetches.withLock { table in
      table.counts.started += 1
      if flight.isPrefetch { table.counts.prefetched += 1 }
    }
    read(flight, into: room, backing)
    return true
  }

  /// What RAM has of what could not be read; nil if nothing.
  func inRAM(_ flight: Flight) -> Fetch.Outcome? {
    hold(flight.key, in: flight.namespace, now: clock.now()).map { .inRAM($0) }
  }

  /// RAM if something there can go, for the tenant's quota something of its own, else staging
  /// memory; staging memory first for what RAM has in another form, since it will not stay.
  private func takeRoom(
    for flight: Flight, _ byteCount: Int, now: Instant, _ backing: Backing
  ) -> FlightRoom? {
    let namespace = flight.namespace
    guard let charge = takeSharedCharge(for: namespace, now: now) else { return nil }
    if flight.isBelow,
      let memory = backing.staging?.reserve(byteCount: byteCount, owner: namespace.owner)
    {
      return FlightRoom(memory, charge: charge, quota: nil)
    }
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
    return stripe(of: place).withLock { $0.live(key, at: place, now: now).map { Fetch.Hold($0) } }
  }
}
