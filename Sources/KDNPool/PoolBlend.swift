internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// Assembling blends: from an order to the room for all its layers.
extension Pool {
  /// Bytes charged for each chunk that a blend reads, until its last layer is written.
  private static let chunkBytes = 512

  /// Lets the pool assemble blends, once, before it serves; `executor` runs what clients wait for.
  package func startBlending(
    _ executor: any CodingExecutor, settings: BlendSettings = BlendSettings()
  ) {
    let made = Blending(executor, settings)
    blending.withLock { blending in
      precondition(blending == nil, "blending is started once")
      blending = made
    }
  }

  /// Assembles a blend, layer by layer, in the background.
  ///
  /// `completion` is called once, on any thread, perhaps before this returns: with success when all
  /// chunks of its documents are at hand and there is room for all layers, or when the blend is
  /// there already; from then on each layer can be waited for, and comes, unless the blend is
  /// given up: then those who wait are told. Nobody sees anything of a blend that is refused. An
  /// order for a blend that is under way joins it. Layers stay in RAM, without a copy in the slower
  /// tier, until others need the room or their time is over. Nothing without `startBlending`.
  package func compose(
    _ order: BlendOrder, in namespace: Namespace,
    completion: @escaping @Sendable (Result<Void, BlendRefusal>) -> Void
  ) {
    guard let blending = blending.withLock({ $0 }) else {
      return completion(.failure(.pool(.unavailable)))
    }
    // A blend that was forgotten since it was found is looked for again.
    while !attempt(order, in: namespace, blending, completion) {}
  }

  /// False if another attempt finds another blend.
  private func attempt(
    _ order: BlendOrder, in namespace: Namespace, _ blending: Blending,
    _ completion: @escaping Blend.Completion
  ) -> Bool {
    let now = clock.now()
    switch blending.table.withLock({ $0.join(order, in: namespace, now: now) }) {
    case .refused(let refusal):
      refuse(refusal, blending, completion)
    case .first(let blend):
      _ = blend.join(completion, waitersMax: blending.settings.waitersMax)
      blending.executor.run { self.gather(blend, blending, isLast: false) }
    case .known(let blend):
      switch blend.join(completion, waitersMax: blending.settings.waitersMax) {
      case .waiting: blending.table.withLock { $0.count { $0.joined += 1 } }
      case .writing:
        blending.table.withLock { $0.count { $0.joined += 1 } }
        completion(.success(()))
      case .done where isWhole(blend, now: now, blending):
        blending.table.withLock { $0.count { $0.hits += 1 } }
        completion(.success(()))
      case .done:
        if blending.table.withLock({ $0.remove(blend) }) { dropLayers(of: blend, .evicted) }
        return false
      // Who fails it takes it out of the table before anything else.
      case .failed: return false
      case .full:
        let limit = blending.settings.waitersMax
        let fault = FieldFault("blends", value: limit, limit: limit, "too many wait for this one")
        refuse(.busy(fault), blending, completion)
      }
    }
    return true
  }

  private func refuse(
    _ refusal: BlendRefusal, _ blending: Blending, _ completion: Blend.Completion
  ) {
    blending.table.withLock { $0.count { $0.note(refusal) } }
    completion(.failure(refusal))
  }

  /// Whether all layers are there, and will be for a while.
  private func isWhole(_ blend: Blend, now: Instant, _ blending: Blending) -> Bool {
    let wanted = now.advanced(milliseconds: blending.settings.ttlMilliseconds / 4)
    return blend.order.layers.allSatisfy { layer in
      guard let object = live(blend.order.key(of: layer), in: blend.namespace, now: now) else {
        return false
      }
      return object.isDerived && object.expiry >= wanted
    }
  }

  // MARK: Chunks

  /// Finds all chunks, and fetches what is not in RAM or is encoded.
  private func gather(
    _ blend: Blend, _ blending: Blending, isLast: Bool, takesKept: Bool = true
  ) {
    let found: BlendPlaces
    do {
      try check(blend.order, blend.namespace, blending.settings)
      found = try places(of: blend, takesKept: takesKept)
    } catch {
      return giveUp(blend, error, blending)
    }
    let chargedBytes = found.count * Self.chunkBytes
    guard chargeBuffers(chargedBytes) else {
      return giveUp(blend, .pool(.busy(retryAfterMilliseconds: 1000)), blending)
    }
    guard blend.note(chargedBytes: chargedBytes) else { return refundBuffers(chargedBytes) }
    let fetch = fetch(found.keys, in: blend.namespace) {
      guard blend.note(nil) else { return }
      blending.executor.run { self.collect(found, blend, blending, isLast: true) }
    }
    guard let fetch else { return collect(found, blend, blending, isLast: isLast) }
    // Its end may have come already.
    if blend.note(fetch) { collect(found, blend, blending, isLast: true) }
  }

  /// Checks that the blend can have room at all.
  private func check(
    _ order: BlendOrder, _ namespace: Namespace, _ settings: BlendSettings
  ) throws(BlendRefusal) {
    let rows = order.rowCount
    guard rows <= settings.tokensMax else {
      throw .pool(
        .fault(FieldFault("rowCount", value: rows, limit: settings.tokensMax, "too many tokens")))
    }
    let chunks = order.pieces.reduce(0) { $0 + $1.chunks.count }
    guard chunks <= settings.chunksMax else {
      throw .pool(
        .fault(FieldFault("count", value: chunks, limit: settings.chunksMax, "too many chunks")))
    }
    let limit = min(namespace.quota.bytesMax, arena.statistics.capacityBytes)
    let largest = order.layers.map { $0.byteCount(rows: rows) }.max() ?? 0
    guard order.byteCount <= limit, arena.canEverHold(byteCount: largest) else {
      throw .pool(.tooLarge(bytes: order.byteCount, limit: limit))
    }
  }

  /// Takes what was found; what went since is looked for once more.
  private func collect(
    _ found: BlendPlaces, _ blend: Blend, _ blending: Blending, isLast: Bool
  ) {
    let fetch = blend.takeFetch()
    var held: [ObjectKey: BlendSources.Held] = [:]
    for (key, piece) in zip(found.keys, found.pieces) {
      switch fetch?.take(key) ?? lookup(key, in: blend.namespace) {
      case .hit(let lease):
        let source = BlendSources.Held(lease)
        guard source.isWhole else {
          if key.isEdited { return gatherWithoutKept(blend, blending) }
          return giveUp(blend, .missing(piece: piece, .corrupt), blending)
        }
        held[key] = source
      case .miss(let cause):
        if key.isEdited { return gatherWithoutKept(blend, blending) }
        guard isLast else {
          refundBuffers(blend.takeCharge())
          return gather(blend, blending, isLast: true)
        }
        return giveUp(blend, .missing(piece: piece, cause), blending)
      }
    }
    guard let geometry = blend.namespace.geometry(of: blend.order.layout) else {
      return giveUp(blend, .pool(.notFound(what: "layout", number: 0)), blending)
    }
    switch chunks(of: found, held, blend, blending) {
    case .success(let chunks):
      takeRooms(BlendSources(blend.order, geometry, chunks), blend, blending)
    case .failure(let refusal): giveUp(blend, refusal, blending)
    }
  }

  /// Edits all chunks: what was kept of them cannot be had after all.
  private func gatherWithoutKept(_ blend: Blend, _ blending: Blending) {
    refundBuffers(blend.takeCharge())
    gather(blend, blending, isLast: false, takesKept: false)
  }

  // MARK: Room

  /// Takes room for all layers, or for none, and begins to write.
  private func takeRooms(_ sources: BlendSources, _ blend: Blend, _ blending: Blending) {
    // What an earlier blend of this hash left behind, or somebody stored there.
    dropLayers(of: blend, .evicted)
    let (order, rows, now) = (blend.order, blend.order.rowCount, clock.now())
    var rooms: [FlightRoom] = []
    do {
      // All at once first: a part of it would be refused for reasons that time alone cannot mend.
      _ = try chargeStore(of: order.byteCount, blend.namespace, now: now)
      for layer in order.layers {
        rooms.append(try takeRoom(layer.byteCount(rows: rows), blend.namespace, now))
      }
    } catch {
      refusals.wrappingAdd(1, ordering: .relaxed)
      rooms = []
      return giveUp(blend, .pool(error), blending)
    }
    guard let waiting = blend.begin(sources, rooms) else { return }
    for completion in waiting { completion(.success(())) }
    pump(blend, blending)
  }

  private func takeRoom(
    _ byteCount: Int, _ namespace: Namespace, _ now: Instant
  ) throws(PoolRefusal) -> FlightRoom {
    let quota = try takeQuota(byteCount, namespace, now: now)
    guard let charge = takeSharedCharge(for: namespace, now: now) else {
      throw .busy(retryAfterMilliseconds: retryHint(for: namespace, now: now))
    }
    return FlightRoom(
      try takeMemory(byteCount, namespace, now: now), charge: charge, quota: quota)
  }
}

extension BlendStatistics {
  /// Counts an order that is refused.
  mutating func note(_ refusal: BlendRefusal) {
    switch refusal {
    case .missing, .unedited: missing += 1
    case .busy: busy += 1
    case .pool: withoutRoom += 1
    case .cancelled: cancelled += 1
    }
  }
}
