package import KDNCore
internal import KDNMemory
internal import KDNTier

/// Writing the layers of blends, and giving blends up.
extension Pool {
  /// Begins as many layers as may be written now.
  func pump(_ blend: Blend, _ blending: Blending) {
    while let step = blend.nextStep() {
      blending.executor.run { self.write(step, of: blend, blending) }
    }
  }

  /// Writes one layer on this thread, and publishes it.
  private func write(_ step: Blend.Step, of blend: Blend, _ blending: Blending) {
    guard let memory = step.room.memory.take(), let charge = step.room.charge.take() else {
      preconditionFailure("a layer is written once")
    }
    let (order, layer) = (blend.order, step.layer)
    memory.withBytes { order.writer.write(layer, from: step.sources, into: &$0) }
    let facts = StoreFacts(
      key: order.key(of: layer), byteCount: memory.byteCount, tokenCount: order.rowCount,
      ttlMilliseconds: blending.settings.ttlMilliseconds)
    let checksum = memory.checksum
    let object = StoredObject(
      facts, checksum: checksum, block: memory.seal(keeping: step.room.takeQuota()),
      charge: charge, namespace: blend.namespace, generation: blend.generation,
      age: newAge(facts), isDerived: true)
    // Held from before it can be found, so that nothing evicts it before the last layer is there.
    let hold = Fetch.Hold(object)
    var replaced: StoredObject?
    let answer = residency.withLock { residency in
      insert(object, into: &residency, replacing: &replaced)
    }
    switch answer {
    case .success: end(hold, of: blend, blending)
    case .failure(.notFound): cancel(blend, .purged, blending)
    case .failure: cancel(blend, .evicted, blending)
    }
    // Its end must be noted whatever came of it.
    if case .failure = answer { _ = blend.end(hold) }
  }

  private func end(_ hold: Fetch.Hold, of blend: Blend, _ blending: Blending) {
    let key = hold.object.key
    switch blend.end(hold) {
    case .unwanted(let cause): drop(hold.object, cause)
    case .published:
      wake(key, in: blend.namespace)
      pump(blend, blending)
    case .last(let remains):
      let now = clock.now()
      let order = blend.order
      let (rows, bytes) = (UInt64(order.rowCount), UInt64(order.byteCount))
      let nanoseconds = now.nanoseconds(since: blend.started)
      let outdated = blending.table.withLock { table in
        table.count { counts in
          counts.assembled += 1
          counts.assembledTokens += rows
          counts.assembledBytes += bytes
          counts.assembleNanoseconds += nanoseconds
        }
        return table.end(blend, now: now)
      }
      refundBuffers(remains.chargedBytes)
      wake(key, in: blend.namespace)
      for blend in outdated { dropLayers(of: blend, .evicted) }
    }
  }

  // MARK: Giving up

  /// Refuses a blend of which nothing was published.
  func giveUp(_ blend: Blend, _ refusal: BlendRefusal, _ blending: Blending) {
    let cause: MissCause =
      if case .missing(_, let cause) = refusal { cause } else { .notReady }
    fail(blend, cause, refusal, blending)
  }

  /// Gives up a blend that is under way: drops what was published, and tells all who wait.
  func cancel(_ blend: Blend, _ cause: MissCause, _ blending: Blending) {
    fail(blend, cause, .cancelled(cause), blending)
  }

  private func fail(
    _ blend: Blend, _ cause: MissCause, _ refusal: BlendRefusal, _ blending: Blending
  ) {
    guard let remains = blend.fail(cause) else { return }
    let now = clock.now()
    blending.table.withLock { table in
      table.fail(blend, cause, now: now)
      table.count { $0.note(refusal) }
    }
    remains.fetch?.cancel()
    refundBuffers(remains.chargedBytes)
    for object in remains.published { drop(object, cause) }
    for layer in blend.order.layers {
      let key = blend.order.key(of: layer)
      let place = ChunkPlace(key.hash, in: blend.namespace.number)
      stripe(of: place).withLock { $0.noteAbsence(of: key, at: place, cause) }
      wake(key, in: blend.namespace)
    }
    for completion in remains.completions { completion(.failure(refusal)) }
  }

  /// Drops what RAM has under the keys of a blend's layers.
  func dropLayers(of blend: Blend, _ cause: MissCause) {
    let now = clock.now()
    for layer in blend.order.layers {
      let object = live(blend.order.key(of: layer), in: blend.namespace, now: now)
      if let object { drop(object, cause) }
    }
  }

  private func drop(_ object: StoredObject, _ cause: MissCause) {
    residency.withLock { residency in
      guard object.slot >= 0 else { return }
      drop(object, from: &residency, cause)
    }
  }

  // MARK: Purges

  /// Gives up and drops the blends of a tenant that `isMeant` says are.
  private func dropBlends(in namespace: Namespace, where isMeant: (BlendOrder) -> Bool) {
    guard let blending = blending.withLock({ $0 }) else { return }
    let (number, now) = (namespace.number, clock.now())
    for blend in blending.table.withLock({ $0.blends(of: number) }) where isMeant(blend.order) {
      cancel(blend, .purged, blending)
      if blending.table.withLock({ $0.drop(blend, .purged, now: now) }) {
        dropLayers(of: blend, .purged)
      }
    }
  }

  /// Drops the blends of a document whose name stands for something else from now on.
  func dropBlends(ofDocument name: String, in namespace: Namespace) {
    let bytes = Array(name.utf8)
    dropBlends(in: namespace) { order in
      order.pieces.contains { bytes.elementsEqual($0.document.document.name.utf8) }
    }
  }

  /// Drops the blends that read what is purged; to be called once it is gone from RAM, and reads of
  /// it are stopped.
  func dropBlends(of scope: PurgeScope, in namespace: Namespace) {
    switch scope {
    case .namespace: dropBlends(in: namespace) { _ in true }
    case .layouts(let layouts): dropBlends(in: namespace) { layouts.contains($0.layout) }
    case .prefixes(let hashes): dropBlends(of: Set(hashes), in: namespace)
    case .keys(let keys):
      dropBlends(of: Set(keys.lazy.filter { $0.kind == .layout }.map(\.hash)), in: namespace)
    }
  }

  /// Drops the blends that read one of these chunks.
  func dropBlends(of chunks: Set<ChunkHash>, in namespace: Namespace) {
    guard !chunks.isEmpty else { return }
    dropBlends(in: namespace) { order in
      order.pieces.contains { piece in
        piece.document.document.hashes.contains(where: chunks.contains)
          || piece.sources.contains(where: chunks.contains)
      }
    }
  }

  /// Whether a key is that of a layer whose blend was given up or is assembled already, so that
  /// waiting for what is not here is in vain.
  package func isGivenUp(_ key: ObjectKey, in namespace: Namespace) -> Bool {
    guard key.kind == .layout, key.variant == BlendOrder.variant,
      let blending = blending.withLock({ $0 })
    else { return false }
    let name = BlendTable.Name(namespace: namespace.number, hash: key.hash)
    let (blend, cause) = blending.table.withLock { ($0.blend(of: name), $0.failure(of: name)) }
    return cause != nil || blend?.phase == .done
  }

  /// Gives up all blends, and begins no more.
  package func closeBlending() {
    guard let blending = blending.withLock({ $0 }) else { return }
    let blends = blending.table.withLock { table in
      table.close()
      return table.blends(of: nil)
    }
    for blend in blends { cancel(blend, .notReady, blending) }
  }

  /// Forgets blends and failures that have outlived their time.
  func tickBlending(now: Instant) {
    blending.withLock { $0 }?.table.withLock { $0.tick(now: now) }
  }

  /// A picture of the counters; all zero as long as nothing is blended.
  package var blendStatistics: BlendStatistics {
    blending.withLock { $0 }?.table.withLock { $0.statistics } ?? BlendStatistics()
  }
}
